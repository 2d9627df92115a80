import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

from tasks import DataMissing, TaskError, mnist
from tasks.data import split_source
from tasks.datasets import read_source
from tasks.downloads import Remote

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx(array):
    """An idx file as published: two zeros, type 8, axes, sizes, bytes."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def arrays():
    random = np.random.RandomState(0)
    parts = {}
    for part, count in (("train", 12), ("t10k", 6)):
        parts[f"{part}-images-idx3-ubyte"] = random.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        parts[f"{part}-labels-idx1-ubyte"] = random.randint(0, 10, count).astype(np.uint8)
    return parts


PACKED = {file: gzip.compress(idx(array), mtime=0) for file, array in arrays().items()}


@pytest.fixture(params=sorted(FOLDERS))
def name(request):
    return request.param


@pytest.fixture
def publish(name, monkeypatch):
    """Puts the small files in place of the real ones, at this address."""

    def publish(url):
        remotes = {file: Remote(f"{url}{file}.gz", len(data), md5(data)) for file, data in PACKED.items()}
        monkeypatch.setattr(mnist, name.upper(), replace(getattr(mnist, name.upper()), files=remotes))

    return publish


@pytest.fixture
def write(name, publish, tmp_path, closed_url):
    """Writes files of MNIST's form, packed or not, where there is no network; returns their folder."""
    publish(closed_url)
    folder = tmp_path / FOLDERS[name] / "raw"

    def write(pack):
        folder.mkdir(parents=True)
        for file, array in arrays().items():
            if pack:
                (folder / f"{file}.gz").write_bytes(PACKED[file])
            else:
                (folder / file).write_bytes(idx(array))
        return folder

    return write


@pytest.mark.parametrize("pack", [False, True])
def test_files_are_read_plain_or_packed(name, write, tmp_path, pack):
    write(pack)
    source = read_source(name, tmp_path, None, 0)
    assert source.name == name
    for part, file in ((source.train, "train"), (source.test, "t10k")):
        np.testing.assert_array_equal(part.images[:, 0], arrays()[f"{file}-images-idx3-ubyte"])
        np.testing.assert_array_equal(part.labels, arrays()[f"{file}-labels-idx1-ubyte"])
        assert part.labels.dtype == np.int64


def test_files_that_are_not_there_are_downloaded_and_said_to_be(name, publish, tmp_path, server, capsys):
    server.files |= {f"/{file}.gz": data for file, data in PACKED.items()}
    publish(server.url)
    assert len(read_source(name, tmp_path, None, 0).test) == 6
    folder = tmp_path / FOLDERS[name] / "raw"
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{file}.gz" for file in PACKED)
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in said] == [f"{server.url}{file}.gz" for file in PACKED]
    assert all("MB) to " in line for line in said)


def test_what_is_nowhere_is_missing(name, publish, tmp_path, closed_url):
    publish(closed_url)
    with pytest.raises(DataMissing, match=r"train-images-idx3-ubyte\.gz is not under"):
        read_source(name, tmp_path, None, 0)


whole = idx(np.zeros((12, 28, 28), np.uint8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\x03",
        whole[:-1],
        whole + b"\0",
        b"\0\0\x0d" + whole[3:],
        b"\0\0\x08\xff" + whole[4:],
    ],
    ids=["empty", "no axes", "no sizes", "short", "long", "floats", "255 axes"],
)
def test_a_damaged_file_is_named(name, write, tmp_path, content):
    path = write(pack=False) / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        read_source(name, tmp_path, None, 0)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(whole)[:-9]], ids=["empty", "other", "short"])
def test_a_damaged_packed_file_is_named(name, write, tmp_path, content):
    path = write(pack=True) / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        read_source(name, tmp_path, None, 0)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.usefixtures("timm")
def test_files_and_digests_are_torchvisions():
    from torchvision.datasets import MNIST, FashionMNIST

    for theirs, ours in ((MNIST, mnist.MNIST), (FashionMNIST, mnist.FASHION_MNIST)):
        assert [(f"{file}.gz", remote.digest) for file, remote in ours.files.items()] == list(theirs.resources)
        assert ours.folder == theirs.__name__
    assert list(mnist.FASHION_MNIST.classes) == FashionMNIST.classes


@pytest.mark.data
def test_real_mnist(data_root):
    source = read_source("mnist", data_root, None, 0)
    assert source.train.images.shape == (60000, 1, 28, 28)
    assert source.test.images.shape == (10000, 1, 28, 28)
    assert source.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert source.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert source.classes == tuple("0123456789")
    data = split_source(source, "holdout")
    assert [len(p) for p in (data.train, data.validation, data.test)] == [50000, 10000, 10000]
    assert data.fingerprint == "mnist-holdout-10000-73f624a8e1bc49ee"
    assert not {image.tobytes() for image in data.validation.images} & {image.tobytes() for image in data.train.images}
    share = np.bincount(data.validation.labels) / np.bincount(source.train.labels)
    np.testing.assert_allclose(share, 1 / 6, atol=2e-4)
