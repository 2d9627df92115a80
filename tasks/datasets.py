"""Data sets by name: one line a member. A reader takes the data root and returns a ``Source``.

Files are laid out as torchvision lays them out, so that either finds what the other downloaded: ``mnist.py``, ``cifar.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.cifar import read_cifar10, read_cifar100
from tasks.data import Arrays, Source
from tasks.errors import DataMissing, TaskError
from tasks.factories import call_factory, import_factory, nearest
from tasks.mnist import read_fashion_mnist, read_mnist

__all__ = ["DATASETS", "check_data", "read_source"]


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


DATASETS: dict[str, Callable[[Path], Source]] = {
    "digits": _digits,
    "mnist": read_mnist,
    "fashion_mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
}


def check_data(name: str) -> None:
    """TaskError where ``name`` is no registered data set, ``package.module:factory``, or folder."""
    if not (name in DATASETS or ":" in name or "/" in name or os.path.isdir(name)):
        raise TaskError(f"data = {name!r}: unknown{nearest(name, DATASETS)}; or package.module:factory, or a folder")


def read_source(name: str, root: Path, image_size: int | None, workers: int) -> Source:
    """Read a data set. ``image_size`` and ``workers`` (threads) are for folders of pictures, whose sizes differ."""
    check_data(name)
    if name in DATASETS:
        try:
            return DATASETS[name](root)
        except OSError as error:
            raise TaskError(f"data = {name!r}: {error.filename or root} cannot be read ({error.strerror})") from error
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
