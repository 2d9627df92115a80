"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 60,000 pictures of 32x32 pixels each, laid out as torchvision lays them out."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data import Arrays, Source
from tasks.downloads import Remote, checked, found
from tasks.errors import TaskError

__all__ = ["CIFAR10", "CIFAR100", "Cifar", "read_cifar10", "read_cifar100"]

_PAGE = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """One of the two. ``train``, ``test``, ``meta``: names of files with their md5; ``labels``, ``names``: their keys."""

    name: str
    folder: str
    archive: Remote
    train: Mapping[str, str]
    test: Mapping[str, str]
    meta: Mapping[str, str]
    labels: bytes
    names: bytes
    mean: Sequence[float]
    std: Sequence[float]


CIFAR10 = Cifar(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive=Remote(f"{_PAGE}cifar-10-python.tar.gz", 170498071, "c58f30108f718f92721af3b95e74349a"),
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    labels=b"labels",
    names=b"label_names",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
CIFAR100 = Cifar(
    name="cifar100",
    folder="cifar-100-python",
    archive=Remote(f"{_PAGE}cifar-100-python.tar.gz", 169001437, "eb9058c3a382ffc7106e4002c42a8d85"),
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
    labels=b"fine_labels",
    names=b"fine_label_names",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def read_cifar10(root: Path) -> Source:
    """10 classes of 6,000 pictures; 5,000 of the 50,000 for training are held out."""
    return _read(CIFAR10, root)


def read_cifar100(root: Path) -> Source:
    """100 classes (the fine labels) of 600 pictures; 5,000 of the 50,000 for training are held out."""
    return _read(CIFAR100, root)


def _read(kind: Cifar, root: Path) -> Source:
    folder, files = root / kind.folder, {**kind.train, **kind.test, **kind.meta}
    if not all((folder / name).exists() for name in files):
        with tarfile.open(found(kind.archive, root / kind.archive.url.rpartition("/")[2])) as tar:
            tar.extractall(root, filter="data")
    with ThreadPoolExecutor(2) as pool:
        contents = dict(zip(files, pool.map(_unpickled, [folder / n for n in files], files.values()), strict=True))
    (meta,) = (contents[name] for name in kind.meta)
    train, test = (_joined([contents[name] for name in part], kind) for part in (kind.train, kind.test))
    classes = [name.decode() for name in meta[kind.names]]
    if max(train.labels.max(), test.labels.max()) >= len(classes):
        raise TaskError(f"{folder}: a label beyond its {len(classes)} classes; the files do not belong together")
    norm = {"mean": kind.mean, "std": kind.std}
    return Source(name=kind.name, train=train, test=test, classes=classes, **norm, flip=True, pad=4, holdout=5000)


def _joined(batches: Sequence[Mapping[bytes, Any]], kind: Cifar) -> Arrays:
    images = np.concatenate([batch[b"data"].reshape(-1, 3, 32, 32) for batch in batches])
    return Arrays(images, np.concatenate([np.array(batch[kind.labels], dtype=np.int64) for batch in batches]))


class _ArraysOnly(pickle.Unpickler):
    """The files are published as pickles: only numpy arrays may come out of them."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct": "numpy._core.multiarray", "ndarray": "numpy", "dtype": "numpy"}
        if module.partition(".")[0] != "numpy" or name not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR file")
        return super().find_class(allowed[name], name)


def _unpickled(path: Path, digest: str) -> dict[bytes, Any]:
    with open(checked(path, digest), "rb") as file:
        content: dict[bytes, Any] = _ArraysOnly(file, encoding="bytes").load()
    return content
