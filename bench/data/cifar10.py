"""CIFAR-10 as its authors publish it: one archive of pickled batches (Krizhevsky 2009).

Nothing is unpickled whose MD5 is not the published one, and even then nothing but arrays.
"""

from __future__ import annotations

import pickle
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from bench.config import RequestError
from bench.data.checksum import Checksum, read_checked, require_checksum
from bench.data.download import download
from bench.data.image_set import Decoded, Source, file_identity

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
FILE_MD5S: dict[str, str] = {  # as torchvision.datasets.CIFAR10 has them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
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
    download(URL, data_dir / ARCHIVE, Checksum("MD5", ARCHIVE_MD5), say)
    return _archive(data_dir / ARCHIVE)


def _archive(path: Path) -> Source:
    return Source(f"the official archive {path}", file_identity([path]), partial(_decode_archive, path))


def _decode_archive(path: Path) -> Decoded:
    require_checksum(path, Checksum("MD5", ARCHIVE_MD5))
    with tempfile.TemporaryDirectory(prefix="cifar10-") as folder:
        try:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        except (OSError, tarfile.TarError, EOFError) as error:
            raise RequestError(f"{path} cannot be extracted to {folder}: {error}") from error
        return _decode_folder(Path(folder))


def _decode_folder(root: Path) -> Decoded:
    contents = {name: _unpickled(root / FOLDER / name, md5) for name, md5 in FILE_MD5S.items()}
    batches = [content for name, content in contents.items() if name.startswith("data_batch_")]
    train = np.concatenate([batch["data"] for batch in batches]).reshape(-1, *SHAPE)
    test = np.asarray(contents["test_batch"]["data"]).reshape(-1, *SHAPE)
    return Decoded(
        name="cifar10",
        classes=tuple(contents["batches.meta"]["label_names"]),
        mirror_ok=True,
        train_images=train,
        train_labels=np.concatenate([np.asarray(batch["labels"], np.int64) for batch in batches]),
        test_images=test,
        test_labels=np.asarray(contents["test_batch"]["labels"], np.int64),
    )


class _Batch(pickle.Unpickler):
    """Of arrays, and of nothing that could do anything."""

    _KNOWN = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),  # its name since numpy 2
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),  # bytes, as Python 3 writes them for Python 2
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickled(path: Path, md5: str) -> dict[str, Any]:
    data = read_checked(path, Checksum("MD5", md5))
    with warnings.catch_warnings():
        # The pickles are of 2009 and describe their arrays in a way that numpy 2.4 deprecates.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        try:
            content = _Batch(BytesIO(data), encoding="latin1").load()
        except pickle.UnpicklingError as error:
            raise RequestError(f"{path} is no batch of CIFAR-10: {error}; remove it and try again") from error
    assert isinstance(content, dict)
    return content
