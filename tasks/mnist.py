"""MNIST and Fashion-MNIST: 70,000 grey pictures of 28x28 pixels each, in idx files, laid out as torchvision does."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data import Arrays, Source
from tasks.downloads import Remote, found
from tasks.errors import TaskError

__all__ = ["FASHION_MNIST", "MNIST", "IdxSet", "read_fashion_mnist", "read_mnist"]


@dataclass(frozen=True, kw_only=True)
class IdxSet:
    """One of the two. ``files``: names of plain files, each with where its gzipped form is published."""

    name: str
    folder: str
    files: Mapping[str, Remote]
    classes: Sequence[str]
    mean: float
    std: float
    flip: bool


def _published(page: str, files: Mapping[str, tuple[int, str]]) -> dict[str, Remote]:
    return {name: Remote(f"{page}{name}.gz", size, digest) for name, (size, digest) in files.items()}


MNIST = IdxSet(
    name="mnist",
    folder="MNIST",
    files=_published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": (9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            "train-labels-idx1-ubyte": (28881, "d53e105ee54ea40749a09fcbcd1e9432"),
            "t10k-images-idx3-ubyte": (1648877, "9fb629c4189551a2d022fa330f9573f3"),
            "t10k-labels-idx1-ubyte": (4542, "ec29112dd5afa0611ce80d1b7f02629c"),
        },
    ),
    classes=tuple("0123456789"),
    mean=0.1307,
    std=0.3081,
    flip=False,
)
FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    folder="FashionMNIST",
    files=_published(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        {
            "train-images-idx3-ubyte": (26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            "train-labels-idx1-ubyte": (29515, "25c81989df183df01b3e8a0aad5dffbe"),
            "t10k-images-idx3-ubyte": (4422102, "bef4ecab320f06d8554ea6380940ec79"),
            "t10k-labels-idx1-ubyte": (5148, "bb300cfdad3c16e7a12a480ee83cd310"),
        },
    ),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=0.2860,
    std=0.3530,
    flip=True,
)


def read_mnist(root: Path) -> Source:
    """Handwritten digits (LeCun et al. 1998); 10,000 of the 60,000 for training are held out."""
    return _read(MNIST, root)


def read_fashion_mnist(root: Path) -> Source:
    """Pieces of clothing (Xiao et al. 2017, arXiv 1708.07747); 10,000 of the 60,000 for training are held out."""
    return _read(FASHION_MNIST, root)


def _read(kind: IdxSet, root: Path) -> Source:
    parts = {name: _idx(root / kind.folder / "raw" / name, remote) for name, remote in kind.files.items()}
    train, test = (
        Arrays(parts[f"{p}-images-idx3-ubyte"][:, None], parts[f"{p}-labels-idx1-ubyte"].astype(np.int64))
        for p in ("train", "t10k")
    )
    norm = {"mean": (kind.mean,), "std": (kind.std,)}
    return Source(
        name=kind.name, train=train, test=test, classes=kind.classes, **norm, flip=kind.flip, pad=2, holdout=10000
    )


def _idx(path: Path, remote: Remote) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
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
