"""A data set's name -> the best place that its images can come from, and why not a better one.

cifar10 and mnist: official files, else Parquet, else download. auto: those of the track, else synthetic.
What is there but damaged is an error, never a reason to look further.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from bench.config import RequestError, Track
from bench.data import cache, cifar10, folder, mnist, parquet, synthetic
from bench.data.download import DownloadError
from bench.data.image_set import ImageSet, Source

_TRACKS: dict[str, tuple[Track, ...]] = {
    "auto": ("cifar", "mnist"),
    "cifar10": ("cifar",),
    "mnist": ("mnist",),
    "synthetic": ("cifar", "mnist"),
}

_PARQUET: dict[Track, parquet.Layout] = {
    "cifar": parquet.Layout("cifar10", cifar10.CLASSES, cifar10.SHAPE, cifar10.COUNTS, mirror_ok=True),
    "mnist": parquet.Layout("mnist", mnist.CLASSES, mnist.SHAPE, mnist.COUNTS, mirror_ok=False),
}

_TITLES = {"cifar": "CIFAR-10", "mnist": "MNIST"}


def tracks_of(dataset: str) -> tuple[Track, ...]:
    """The tracks whose networks can train on a data set.

    Raises:
        RequestError: as `check_name`.
    """
    check_name(dataset)
    return _TRACKS.get(dataset, ("cifar", "mnist"))


def check_name(dataset: str) -> None:
    """Return if `dataset` is a known name or an existing folder.

    Raises:
        RequestError: it is neither; the message names the nearest.
    """
    if dataset in _TRACKS or Path(dataset).expanduser().is_dir():
        return
    if os.sep in dataset:
        raise RequestError(f"--dataset {dataset}: there is no such folder")
    near = difflib.get_close_matches(dataset, _TRACKS, n=2, cutoff=0.4)
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
    image_set = cache.load_or_decode(source, cache_dir.expanduser(), say)
    return replace(image_set, source="; ".join((image_set.source, *reasons)))


def found(data_dir: Path) -> list[str]:
    """One line for each data set in `data_dir`, with its kind and path; contents are not read through."""
    data_dir = data_dir.expanduser()
    lines = []
    for track, layout in _PARQUET.items():
        for find in (_official(track).find, partial(parquet.find, layout=layout)):
            try:
                source = find(data_dir)
            except (RequestError, OSError) as error:
                lines.append(f"{layout.name}: damaged: {error}")
            else:
                if source is not None:
                    lines.append(f"{layout.name}: {source.description}")
    return lines


def _official(track: Track) -> ModuleType:
    return mnist if track == "mnist" else cifar10


def _best(dataset: str, track: Track, data_dir: Path, say: Callable[[str], None]) -> tuple[Source, list[str]]:
    """The first source there is, and a reason for each better one that there is not."""
    if source := _official(track).find(data_dir):
        return source, []
    reasons = [f"no official {_TITLES[track]} in {data_dir}"]
    if source := parquet.find(data_dir, _PARQUET[track]):
        return source, reasons
    reasons[0] += ", nor Parquet files"
    try:
        return _official(track).fetch(data_dir, say), []
    except DownloadError as failure:
        reasons.append(f"download failed: {failure}")
    if dataset == "auto":
        return synthetic.source(track), reasons
    raise RequestError(
        f"--dataset {dataset}: {'; '.join(reasons)}; put the data set there, name another --data-dir, "
        "or use --dataset synthetic"
    )
