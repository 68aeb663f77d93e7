"""name -> source (official files, Parquet, folder, synthetic) -> decoded arrays in the cache -> batches.

cifar10 and mnist: official files, else Parquet, else download. auto: those of the track, else synthetic. What is there
but damaged is an error, never a reason to look further. Importing this imports no torch; `bench.data.batches` does.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from bench.config import RequestError, Track
from bench.data import cache, folder, official, parquet, synthetic
from bench.data.download import DownloadError
from bench.data.image_set import ImageSet, Source

_TRACKS: dict[str, tuple[Track, ...]] = {
    "auto": ("cifar", "mnist"),
    "cifar10": ("cifar",),
    "mnist": ("mnist",),
    "synthetic": ("cifar", "mnist"),
}

_OFFICIAL = {
    "cifar": (official.CIFAR10, official.find_cifar10, official.fetch_cifar10),
    "mnist": (official.MNIST, official.find_mnist, official.fetch_mnist),
}
_DATA_SUFFIXES = {".parquet", ".arrow", ".gz", ".tgz", ".tar", ".zip", ".bin", ".npz", ".npy", ".mat", *folder.SUFFIXES}
_LOOKED_AT, _NAMED = 2_000, 3  # entries of a data folder, and how many of them are named


def tracks_of(dataset: str) -> tuple[Track, ...]:
    """The tracks whose networks can train on a data set.

    Raises:
        RequestError: `dataset` is neither a known name nor an existing folder; the message names the nearest.
    """
    if dataset in _TRACKS or Path(dataset).expanduser().is_dir():
        return _TRACKS.get(dataset, ("cifar", "mnist"))
    if os.sep in dataset:
        raise RequestError(f"--dataset {dataset}: there is no such folder")
    near = difflib.get_close_matches(dataset, _TRACKS, n=2, cutoff=0.6)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise RequestError(
        f"no data set is named {dataset!r}{hint}; there are {', '.join(_TRACKS)}, "
        "and any folder with train/<class>/ and test/<class>/ images"
    )


def prepare(dataset: str, track: Track, data_dir: Path, cache_dir: Path, say: Callable[[str], None]) -> ImageSet:
    """The images of a data set for a track, "cifar" or "mnist", decoded into the cache.

    `say` gets a line for each thing that takes long. `source` says why the images are no better ones.

    Raises:
        RequestError: the name is unknown or not of this track, the images cannot be had or are damaged, or
            the cache cannot be written; the message is one line that says what to do.
    """
    if track not in tracks_of(dataset):
        raise RequestError(f"--dataset {dataset} has no images for the {track} track")
    data_dir = data_dir.expanduser()
    reasons: list[str] = []
    try:
        if dataset == "synthetic":
            source = synthetic.source(track)
        elif dataset not in _TRACKS:
            source = folder.find(Path(dataset).expanduser(), track)
        else:
            source, reasons = _best(dataset, track, data_dir, say)
    except OSError as error:
        raise RequestError(f"{error.filename} cannot be read: {error.strerror}") from error
    if source.skipped:
        say(f"{dataset}: {source.skipped}")
        reasons.append(source.skipped)
    image_set = cache.load_or_decode(source, cache_dir.expanduser(), say)
    return replace(image_set, source="; ".join((image_set.source, *reasons)))


def found(data_dir: Path) -> list[str]:
    """One line for each data set in `data_dir`, with its kind and path; contents are not read through."""
    data_dir = data_dir.expanduser()
    lines = []
    for published, find_official, _ in _OFFICIAL.values():
        for find in (find_official, partial(parquet.find, published=published)):
            try:
                source = find(data_dir)
            except (RequestError, OSError) as error:
                lines.append(f"{published.name}: damaged: {error}")
            else:
                if source is not None:
                    lines.append(f"{published.name}: {source.description}")
    return lines


def _best(dataset: str, track: Track, data_dir: Path, say: Callable[[str], None]) -> tuple[Source, list[str]]:
    """The first source there is, and a reason for each better one that there is not."""
    published, find_official, fetch = _OFFICIAL[track]
    if source := find_official(data_dir):
        return source, []
    reasons = [f"no official {published.title} in {data_dir}"]
    if source := parquet.find(data_dir, published):
        return source, reasons
    reasons[0] += ", nor Parquet files"
    if others := _others(data_dir, track):
        size = "x".join(map(str, published.shape[1:]))
        reasons.append(f"found {others}, not {published.title} ({size}, train and test) in a layout that is read")
    try:
        return fetch(data_dir, say), []
    except DownloadError as failure:
        reasons.append(f"download failed: {failure}")
    if dataset == "auto":
        reasons.append(f"--dataset {published.name} makes this an error")
        say(f"synthetic images in place of {published.title}: {'; '.join(reasons)}")
        return synthetic.source(track), reasons
    raise RequestError(
        f"--dataset {dataset}: {'; '.join(reasons)}; put the data set there, name another --data-dir, "
        "or use --dataset synthetic"
    )


def _others(data_dir: Path, track: Track) -> str:
    """Files of images in a data folder, a few by name, without those named after the other track's data set; or ""."""
    (other,) = _OFFICIAL.keys() - {track}
    entries = (path for pattern in ("*", "*/*", "*/*/*", "*/*/*/*") for path in data_dir.glob(pattern))
    names = (path.relative_to(data_dir) for path in islice(entries, _LOOKED_AT) if _is_data(path))
    mine = sorted(
        name.as_posix()
        for name in names
        if not any(map(folder.is_leftover, name.parts)) and other not in name.parts[0].lower()
    )
    more = f" and {len(mine) - _NAMED:,} more" if mine[_NAMED:] else ""
    hint = " (class folders: --dataset FOLDER)" if any(map(folder.is_image, mine)) else ""
    return f"{', '.join(mine[:_NAMED])}{more}{hint}"


def _is_data(path: Path) -> bool:
    return path.suffix.lower() in _DATA_SUFFIXES or path.name.endswith("-ubyte") or "data_batch" in path.name
