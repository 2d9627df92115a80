"""A folder of pictures as a data set: ``train/<class>/*`` and ``test/<class>/*``, as torchvision's ImageFolder has it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.data import Array, Arrays, Source
from tasks.errors import TaskError

__all__ = ["read_folder"]


def read_folder(folder: Path, image_size: int | None, workers: int) -> Source:
    """RGB pictures scaled to ``image_size`` (32 where None), read by ``workers`` threads; a fifth is held out."""
    size = image_size or 32
    classes = sorted(p.name for p in (folder / "train").glob("*") if p.is_dir())
    if len(classes) < 2:
        raise TaskError(f"data = {str(folder)!r}: needs train/<class>/ with two classes or more, found {len(classes)}")
    train, test = (_read_part(folder / part, classes, size, workers) for part in ("train", "test"))
    mean = train.images.mean((0, 2, 3)) / 255
    square = np.square(train.images, dtype=np.uint16).mean((0, 2, 3)) / 255**2
    std = np.sqrt(np.maximum(square - mean**2, 0)) + 1e-6
    return Source(
        name=folder.name,
        train=train,
        test=test,
        classes=classes,
        mean=mean.tolist(),
        std=std.tolist(),
        flip=True,
        pad=size // 8,
        holdout=max(1, len(train) // 5),
    )


def _read_part(folder: Path, classes: list[str], size: int, workers: int) -> Arrays:
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).glob("*.*"))]
    if not files:
        raise TaskError(f"data = {str(folder)!r}: holds no pictures in folders named {', '.join(classes)}")
    with ThreadPoolExecutor(max(1, workers)) as pool:
        images = list(pool.map(lambda item: _read_picture(item[0], size), files))
    return Arrays(np.stack(images), np.array([label for _, label in files], dtype=np.int64))


def _read_picture(path: Path, size: int) -> Array:
    try:
        with Image.open(path) as picture:
            scaled = picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:  # as damaged pictures raise them
        raise TaskError(f"{path}: not a picture ({error})") from error
    return np.asarray(scaled, dtype=np.uint8).transpose(2, 0, 1)
