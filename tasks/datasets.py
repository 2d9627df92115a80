"""Data sets by name: one line a member. A reader takes the data root and returns a ``Source``.

Files are laid out as torchvision lays them out, so that either finds what the other downloaded.
"""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data import Arrays, Source
from tasks.downloads import Remote, checked, found
from tasks.errors import DataMissing, TaskError
from tasks.factories import call_factory, import_factory, nearest

__all__ = ["DATASETS", "check_data", "read_source"]

CIFAR10_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR10 = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", 170498071, "c58f30108f718f92721af3b95e74349a"
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST = {
    "train-images-idx3-ubyte": Remote(
        f"{_MNIST}train-images-idx3-ubyte.gz", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"
    ),
    "train-labels-idx1-ubyte": Remote(f"{_MNIST}train-labels-idx1-ubyte.gz", 28881, "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte": Remote(f"{_MNIST}t10k-images-idx3-ubyte.gz", 1648877, "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte": Remote(f"{_MNIST}t10k-labels-idx1-ubyte.gz", 4542, "ec29112dd5afa0611ce80d1b7f02629c"),
}


def _digits(root: Path) -> Source:
    """1,797 handwritten digits of 8x8 pixels that scikit-learn ships (Alpaydin & Kaynak 1998); 300 of them are the test."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    images = (pictures.reshape(-1, 1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(labels))
    whole = Arrays(images, labels.astype(np.int64))
    names = tuple(map(str, range(10)))
    test, train = whole.take(np.sort(order[:300])), whole.take(np.sort(order[300:]))
    return Source(name="digits", train=train, test=test, classes=names, mean=(0.305,), std=(0.376,), pad=1, holdout=300)


class _ArraysOnly(pickle.Unpickler):
    """CIFAR-10 is published as pickles: only numpy arrays may come out of them."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct": "numpy._core.multiarray", "ndarray": "numpy", "dtype": "numpy"}
        if module.partition(".")[0] != "numpy" or name not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 file")
        return super().find_class(allowed[name], name)


def _cifar10(root: Path) -> Source:
    """60,000 pictures of 32x32 pixels in 10 classes (Krizhevsky 2009)."""
    folder = root / "cifar-10-batches-py"
    if not all((folder / name).exists() for name in CIFAR10_MD5):
        archive = found(CIFAR10, root / "cifar-10-python.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(root, filter="data")
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(_cifar_batch, [folder / n for n in CIFAR10_MD5], CIFAR10_MD5.values()))
    images = np.concatenate([p.images for p in parts[:5]])
    train = Arrays(images, np.concatenate([p.labels for p in parts[:5]]))
    return Source(
        name="cifar10",
        train=train,
        test=parts[5],
        classes=CIFAR10_CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        flip=True,
        pad=4,
        holdout=5000,
    )


def _cifar_batch(path: Path, digest: str) -> Arrays:
    with open(checked(path, digest), "rb") as file:
        batch = _ArraysOnly(file, encoding="bytes").load()
    return Arrays(batch[b"data"].reshape(-1, 3, 32, 32), np.array(batch[b"labels"], dtype=np.int64))


def _mnist(root: Path) -> Source:
    """70,000 handwritten digits of 28x28 pixels (LeCun et al. 1998)."""
    parts = {name: _idx(root / "MNIST" / "raw" / name, remote) for name, remote in MNIST.items()}
    train, test = (
        Arrays(parts[f"{p}-images-idx3-ubyte"][:, None], parts[f"{p}-labels-idx1-ubyte"].astype(np.int64))
        for p in ("train", "t10k")
    )
    names = tuple(map(str, range(10)))
    return Source(
        name="mnist", train=train, test=test, classes=names, mean=(0.1307,), std=(0.3081,), pad=2, holdout=10000
    )


def _idx(path: Path, remote: Remote) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An idx file of bytes, plain or gzipped: two zeros, type 8, axes, then each axis as a big-endian u32."""
    packed = path.with_name(f"{path.name}.gz")
    data = path.read_bytes() if path.exists() else gzip.decompress(found(remote, packed).read_bytes())
    axes = data[3] if len(data) > 3 and data[:3] == b"\0\0\x08" else 0
    shape = (
        np.frombuffer(data, dtype=">u4", count=axes, offset=4).astype(int) if len(data) >= 4 + 4 * axes else np.zeros(1)
    )
    if not axes or len(data) != 4 + 4 * axes + int(shape.prod()):
        raise TaskError(f"{path}: {len(data)} bytes are no idx file of bytes; the file is damaged, remove it")
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


DATASETS: dict[str, Callable[[Path], Source]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
}


def check_data(name: str) -> None:
    """TaskError where ``name`` is no registered data set, ``package.module:factory``, or folder."""
    if not (name in DATASETS or ":" in name or "/" in name or os.path.isdir(name)):
        raise TaskError(f"data = {name!r}: unknown{nearest(name, DATASETS)}; or package.module:factory, or a folder")


def read_source(name: str, root: Path, image_size: int | None, workers: int) -> Source:
    """Read a data set. ``image_size`` and ``workers`` (threads) are for folders of pictures, whose sizes differ."""
    check_data(name)
    if name in DATASETS:
        return DATASETS[name](root)
    if ":" in name:
        source = call_factory(
            f"data {name!r}", import_factory("data", name), {"root": root, "image_size": image_size}, {}
        )
        if not isinstance(source, Source):
            raise TaskError(f"data = {name!r}: the factory returned a {type(source).__name__}, expected a tasks.Source")
        return source
    from tasks.folder import read_folder

    if not os.path.isdir(name):
        raise DataMissing(f"data = {name!r}: no such folder")
    return read_folder(Path(name), image_size, workers)
