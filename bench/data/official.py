"""CIFAR-10 and MNIST as their authors publish them, read by torchvision (Krizhevsky 2009, LeCun et al. 1998).

Nothing is read whose MD5 is not the published one: CIFAR-10's files are pickles. torchvision, and torch with it, is
imported only where images are read or downloaded.
"""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.config import RequestError
from bench.data.download import download
from bench.data.image_set import Decoded, Labelled, PublishedSet, Source, file_identity

CIFAR10 = PublishedSet(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(3, 32, 32),
    counts=(50_000, 10_000),
    mirror_ok=True,
    config="plain_text",
)
MNIST = PublishedSet(
    name="mnist",
    title="MNIST",
    classes=tuple("0123456789"),
    shape=(1, 28, 28),
    counts=(60_000, 10_000),
    mirror_ok=False,
    config="mnist",
)

ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
RAW = Path("MNIST", "raw")  # torchvision's folder
PLAIN_MD5S: dict[str, str] = {  # torchvision has those of the compressed files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
OFFICIAL_BYTES = {16 + 784 * count for count in MNIST.counts} | {8 + count for count in MNIST.counts}  # when plain


def find_cifar10(data_dir: Path) -> Source | None:
    """The extracted folder, else the archive, in `data_dir` or its `cifar10/`; None where neither is."""
    for root in (data_dir, data_dir / "cifar10"):
        if (root / FOLDER).is_dir():
            batches = sorted(path for path in (root / FOLDER).iterdir() if path.is_file())
            return Source(f"the official folder {root / FOLDER}", file_identity(batches), partial(_read_cifar10, root))
        if (root / ARCHIVE).is_file():
            return _archive(root / ARCHIVE)
    return None


def fetch_cifar10(data_dir: Path, say: Callable[[str], None]) -> Source:
    """Download the archive into `data_dir`.

    Raises:
        DownloadError: it cannot be had or kept.
    """
    from torchvision import datasets

    download([datasets.CIFAR10.url], data_dir / ARCHIVE, f"md5:{datasets.CIFAR10.tgz_md5}", say)
    return _archive(data_dir / ARCHIVE)


def _archive(path: Path) -> Source:
    return Source(f"the official archive {path}", file_identity([path]), partial(_read_archive, path))


def _read_archive(path: Path) -> Decoded:
    from torchvision import datasets

    _require_md5(path, datasets.CIFAR10.tgz_md5)
    with tempfile.TemporaryDirectory(prefix="cifar10-") as folder:
        try:
            with tarfile.open(path) as archive:
                # Python before 3.11.4 has no filter; what is extracted is known to the byte.
                archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
                archive.extractall(folder)
        except (OSError, tarfile.TarError, EOFError) as error:
            raise RequestError(f"{path} cannot be extracted to {folder}: {error}") from error
        return _read_cifar10(Path(folder))


def _read_cifar10(root: Path) -> Decoded:
    from torchvision import datasets

    official = datasets.CIFAR10
    try:
        with warnings.catch_warnings():
            # The pickles are of 2009 and describe their arrays in a way that numpy 2.4 deprecates.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            train, test = (official(root, train=train) for train in (True, False))
    except (RuntimeError, OSError):  # a file is missing or has another MD5, and which is not said
        for name, md5 in (*official.train_list, *official.test_list, (official.meta["filename"], official.meta["md5"])):
            _require_md5(root / FOLDER / name, md5)
        raise
    splits = (Labelled(part.data.transpose(0, 3, 1, 2), np.asarray(part.targets, np.int64)) for part in (train, test))
    return Decoded(CIFAR10.name, CIFAR10.classes, CIFAR10.mirror_ok, *splits)


def find_mnist(data_dir: Path) -> Source | None:
    """The four files, plain or .gz, in `data_dir`, its `mnist/`, or `raw/` or `MNIST/raw/` of these; None without one.

    An interrupted download leaves some of them: `fetch_mnist` then gets the others.
    """
    for root in (data_dir, data_dir / "mnist"):
        for folder in (root / RAW, root / "raw", root):
            paths = [_plain_or_compressed(folder, name) for name in PLAIN_MD5S]
            if all(path.is_file() for path in paths):
                return Source(f"the official files in {folder}", file_identity(paths), partial(_read_mnist, paths))
    return None


def fetch_mnist(data_dir: Path, say: Callable[[str], None]) -> Source:
    """Download what is missing into `data_dir/MNIST/raw`, each file from the first mirror that has it.

    Raises:
        DownloadError: no mirror has one of them, or it cannot be kept.
    """
    from torchvision import datasets

    for name, md5 in datasets.MNIST.resources:
        if not _plain_or_compressed(data_dir / RAW, name.removesuffix(".gz")).is_file():
            download([mirror + name for mirror in datasets.MNIST.mirrors], data_dir / RAW / name, f"md5:{md5}", say)
    source = find_mnist(data_dir)
    assert source is not None
    return source


def _plain_or_compressed(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _read_mnist(paths: list[Path]) -> Decoded:
    splits = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images, labels = _read_idx(images_path), _read_idx(labels_path)
        if images.shape[1:] != MNIST.shape[1:] or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
            raise RequestError(f"{labels_path} does not fit its images, 28x28 with one label of 0 to 9 each: remove it")
        splits.append(Labelled(images[:, None], labels.astype(np.int64)))
    return MNIST.decoded(*splits)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an IDX file: two zero bytes, 8 for bytes, the number of dimensions, each as big-endian 32 bits."""
    from torchvision import datasets

    if path.suffix == ".gz":
        _require_md5(path, dict(datasets.MNIST.resources)[path.name])
        data = gzip.decompress(path.read_bytes())
    else:
        data = path.read_bytes()
        if len(data) in OFFICIAL_BYTES:  # another size: one's own digits in the same format
            _require_md5(path, PLAIN_MD5S[path.name])
    if len(data) >= 4 and data[:3] == b"\0\0\x08":
        dimensions = data[3]
        shape = np.frombuffer(data[4 : 4 + 4 * dimensions], ">u4").tolist()
        body = np.frombuffer(data[4 + 4 * dimensions :], np.uint8)
        if len(shape) == dimensions and body.size == np.prod(shape):
            return body.reshape(shape)
    raise RequestError(f"{path} is damaged: it does not have the length that it states; remove it and try again")


def _require_md5(path: Path, md5: str) -> None:
    from torchvision.datasets.utils import calculate_md5

    try:
        actual = calculate_md5(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error
    if actual != md5:
        raise RequestError(
            f"{path} is damaged or not the official file (MD5 {actual}, not {md5}): remove it and try again"
        )
