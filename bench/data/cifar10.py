"""CIFAR-10 as its authors publish it: one archive of pickled batches (Krizhevsky 2009), read by torchvision.

Nothing is unpickled whose MD5 is not the published one.
"""

from __future__ import annotations

import tarfile
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bench.config import RequestError
from bench.data.checksum import require_md5
from bench.data.download import download
from bench.data.source import Decoded, Source, file_identity

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COUNTS = (50_000, 10_000)
SHAPE = (3, 32, 32)


def find(data_dir: Path) -> Source | None:
    """The extracted folder, else the archive, in `data_dir` or its `cifar10/`; None where neither is."""
    for root in (data_dir, data_dir / "cifar10"):
        if (root / FOLDER).is_dir():
            batches = sorted(path for path in (root / FOLDER).iterdir() if path.is_file())
            return Source(f"the official folder {root / FOLDER}", file_identity(batches), partial(_decode_folder, root))
        if (root / ARCHIVE).is_file():
            return _archive(root / ARCHIVE)
    return None


def fetch(data_dir: Path, say: Callable[[str], None]) -> Source:
    """Download the archive into `data_dir`.

    Raises:
        DownloadError: it cannot be had or kept.
    """
    download(URL, data_dir / ARCHIVE, ARCHIVE_MD5, say)
    return _archive(data_dir / ARCHIVE)


def _archive(path: Path) -> Source:
    return Source(f"the official archive {path}", file_identity([path]), partial(_decode_archive, path))


def _decode_archive(path: Path) -> Decoded:
    require_md5(path, ARCHIVE_MD5)
    with tempfile.TemporaryDirectory(prefix="cifar10-") as folder:
        try:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        except (OSError, tarfile.TarError, EOFError) as error:
            raise RequestError(f"{path} cannot be extracted to {folder}: {error}") from error
        return _decode_folder(Path(folder))


def _decode_folder(root: Path) -> Decoded:
    from torchvision.datasets import CIFAR10  # here, because it imports torch

    named: list[tuple[str, str]] = [(name, md5) for name, md5 in CIFAR10.train_list + CIFAR10.test_list]
    for name, md5 in (*named, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])):
        require_md5(root / FOLDER / name, md5)
    with warnings.catch_warnings():
        # The pickles are of 2009 and describe their arrays in a way that numpy 2.4 deprecates.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        train, test = (CIFAR10(root, train=is_train) for is_train in (True, False))
    return Decoded(
        name="cifar10",
        classes=tuple(train.classes),
        mirror_ok=True,
        train_images=np.ascontiguousarray(train.data.transpose(0, 3, 1, 2)),
        train_labels=np.asarray(train.targets, np.int64),
        test_images=np.ascontiguousarray(test.data.transpose(0, 3, 1, 2)),
        test_labels=np.asarray(test.targets, np.int64),
    )
