"""MNIST as its authors publish it: four IDX files, in the folder layout of torchvision (LeCun et al. 1998).

IDX (described on the authors' page): two zero bytes, a type (8: unsigned byte), the number of dimensions,
each dimension as a big-endian 32-bit integer, the bytes.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.config import RequestError
from bench.data.checksum import Checksum, read_checked
from bench.data.download import DownloadError, download
from bench.data.image_set import Decoded, Source, exact_name, file_identity

MIRRORS: tuple[str, ...] = (  # those of torchvision.datasets.MNIST
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
MD5S: dict[str, str] = {  # torchvision.datasets.MNIST.resources
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}  # of the compressed files, <name>.gz
PLAIN_MD5S: dict[str, str] = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}  # of the same files, decompressed
RAW = Path("MNIST", "raw")
CLASSES = tuple("0123456789")
COUNTS = (60_000, 10_000)
SHAPE = (1, 28, 28)
OFFICIAL_BYTES = {16 + 784 * count for count in COUNTS} | {8 + count for count in COUNTS}  # of the plain files


def find(data_dir: Path) -> Source | None:
    """The four files, plain or .gz, in `MNIST/raw` of `data_dir` or its `mnist/`; None where one is missing.

    An interrupted download leaves some of them: `fetch` then gets the others.
    """
    for root in (data_dir, data_dir / "mnist"):
        if all(_plain_or_compressed(root / RAW, name).is_file() for name in MD5S):
            return _source(root / RAW)
    return None


def fetch(data_dir: Path, say: Callable[[str], None]) -> Source:
    """Download what is missing into `data_dir/MNIST/raw`, each file from the first mirror that has it.

    Raises:
        DownloadError: no mirror has one of them, or it cannot be kept.
    """
    raw = data_dir / RAW
    for name, md5 in MD5S.items():
        if _plain_or_compressed(raw, name).is_file():
            continue
        reasons = []
        for mirror in MIRRORS:
            try:
                download(f"{mirror}{name}.gz", raw / f"{name}.gz", Checksum("MD5", md5), say)
                break
            except DownloadError as failure:
                reasons.append(str(failure))
        else:
            raise DownloadError("; ".join(dict.fromkeys(reasons)))
    return _source(raw)


def _source(raw: Path) -> Source:
    paths = [_plain_or_compressed(raw, name) for name in MD5S]
    return Source(f"the official files in {raw}", file_identity(paths), partial(_decode, raw))


def _plain_or_compressed(raw: Path, name: str) -> Path:
    plain = raw / name
    return plain if plain.is_file() else raw / f"{name}.gz"


def _decode(raw: Path) -> Decoded:
    train_images, train_labels, test_images, test_labels = (_read_idx(raw, name) for name in MD5S)
    for images, labels, name in (
        (train_images, train_labels, "train-labels-idx1-ubyte"),
        (test_images, test_labels, "t10k-labels-idx1-ubyte"),
    ):
        if images.shape[1:] != SHAPE[1:] or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
            raise RequestError(f"{raw / name} does not fit its images, 28x28 with one label of 0 to 9 each: remove it")
    return Decoded(
        name=exact_name("mnist", (len(train_images), len(test_images)), COUNTS),
        classes=CLASSES,
        mirror_ok=False,
        train_images=train_images[:, None],
        train_labels=train_labels.astype(np.int64),
        test_images=test_images[:, None],
        test_labels=test_labels.astype(np.int64),
    )


def _read_idx(raw: Path, name: str) -> NDArray[np.uint8]:
    path = _plain_or_compressed(raw, name)
    if path.suffix == ".gz":
        data = gzip.decompress(read_checked(path, Checksum("MD5", MD5S[name])))
    elif path.stat().st_size in OFFICIAL_BYTES:  # another size: one's own digits in the same format
        data = read_checked(path, Checksum("MD5", PLAIN_MD5S[name]))
    else:
        data = path.read_bytes()
    if len(data) >= 4 and data[:3] == b"\0\0\x08":
        dimensions = data[3]
        shape = np.frombuffer(data[4 : 4 + 4 * dimensions], ">u4").tolist()
        body = np.frombuffer(data[4 + 4 * dimensions :], np.uint8)
        if len(shape) == dimensions and body.size == np.prod(shape):
            return body.reshape(shape)
    raise RequestError(f"{path} is damaged: it does not have the length that it states; remove it and try again")
