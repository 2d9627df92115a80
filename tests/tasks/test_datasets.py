import gzip
import hashlib
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from tasks import DataMissing, TaskError, datasets
from tasks.data import split_source
from tasks.datasets import CIFAR10_MD5, check_data, read_source
from tasks.downloads import Remote

CIFAR_FOLDER = "cifar-10-batches-py"


def md5(content):
    return hashlib.md5(content).hexdigest()


def contents(part):
    return {image.tobytes() for image in part.images}


# digits


def test_digits_are_small_handwriting(tmp_path):
    source = read_source("digits", tmp_path, None, 0)
    assert source.train.images.shape == (1497, 1, 8, 8)
    assert source.test.images.shape == (300, 1, 8, 8)
    assert (source.train.images.min(), source.train.images.max()) == (0, 255)
    assert source.classes == tuple("0123456789")
    pixels = source.train.images / 255
    assert (round(float(pixels.mean()), 3), round(float(pixels.std()), 3)) == pytest.approx(
        (source.mean[0], source.std[0]), abs=2e-3
    )


@pytest.mark.parametrize(
    ("policy", "sizes", "mark"),
    [
        ("holdout", [1197, 300, 300], "digits-holdout-300-353cb88c905df817"),
        ("test-halves", [1497, 150, 150], "digits-test-halves-150-3a65f58e5527642c"),
    ],
)
def test_digits_are_divided_the_same_everywhere_and_no_picture_is_in_two_parts(tmp_path, policy, sizes, mark):
    data = split_source(read_source("digits", tmp_path, None, 0), policy)
    parts = (data.train, data.validation, data.test)
    assert [len(p) for p in parts] == sizes
    assert data.fingerprint == mark
    assert len(set.union(*map(contents, parts))) == 1797


# MNIST


def idx(array):
    """An idx file as published: two zeros, type 8, axes, sizes, bytes."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_arrays():
    random = np.random.RandomState(0)
    parts = {}
    for name, count in (("train", 12), ("t10k", 6)):
        parts[f"{name}-images-idx3-ubyte"] = random.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        parts[f"{name}-labels-idx1-ubyte"] = random.randint(0, 10, count).astype(np.uint8)
    return parts


@pytest.fixture
def mnist(tmp_path, monkeypatch, closed_url):
    """Files of MNIST's form, no network; returns a function that writes them, packed or not."""
    arrays = mnist_arrays()
    packed = {name: gzip.compress(idx(array)) for name, array in arrays.items()}
    remotes = {name: Remote(f"{closed_url}{name}.gz", len(data), md5(data)) for name, data in packed.items()}
    monkeypatch.setattr(datasets, "MNIST", remotes)
    folder = tmp_path / "MNIST" / "raw"

    def write(pack):
        folder.mkdir(parents=True)
        for name, array in arrays.items():
            if pack:
                (folder / f"{name}.gz").write_bytes(packed[name])
            else:
                (folder / name).write_bytes(idx(array))
        return folder

    return write


@pytest.mark.parametrize("pack", [False, True])
def test_mnist_is_read_plain_or_packed(mnist, tmp_path, pack):
    mnist(pack)
    source, arrays = read_source("mnist", tmp_path, None, 0), mnist_arrays()
    for part, name in ((source.train, "train"), (source.test, "t10k")):
        np.testing.assert_array_equal(part.images[:, 0], arrays[f"{name}-images-idx3-ubyte"])
        np.testing.assert_array_equal(part.labels, arrays[f"{name}-labels-idx1-ubyte"])
        assert part.labels.dtype == np.int64


def test_mnist_is_downloaded_where_it_is_not_there(mnist, tmp_path, monkeypatch, server):
    for name, array in mnist_arrays().items():
        server.files[f"/{name}.gz"] = gzip.compress(idx(array), mtime=0)
    remotes = {p[1:-3]: Remote(server.url + p[1:], len(b), md5(b)) for p, b in server.files.items()}
    monkeypatch.setattr(datasets, "MNIST", remotes)
    assert len(read_source("mnist", tmp_path, None, 0).test) == 6
    assert sorted(p.name for p in (tmp_path / "MNIST" / "raw").iterdir()) == sorted(f"{n}.gz" for n in remotes)


def test_mnist_that_is_nowhere_is_missing(mnist, tmp_path):
    with pytest.raises(DataMissing, match=r"train-images-idx3-ubyte\.gz is not under"):
        read_source("mnist", tmp_path, None, 0)


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
def test_a_damaged_file_of_mnist_is_named(mnist, tmp_path, content):
    path = mnist(pack=False) / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        read_source("mnist", tmp_path, None, 0)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(whole)[:-9]], ids=["empty", "other", "short"])
def test_a_damaged_packed_file_of_mnist_is_named(mnist, tmp_path, content):
    path = mnist(pack=True) / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        read_source("mnist", tmp_path, None, 0)
    assert str(caught.value).startswith(f"{path}: ")


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
    assert not contents(data.validation) & contents(data.train)
    share = np.bincount(data.validation.labels) / np.bincount(source.train.labels)
    np.testing.assert_allclose(share, 1 / 6, atol=2e-4)


# CIFAR-10


def cifar_batch(number, count=4):
    random = np.random.RandomState(number)
    data = random.randint(0, 256, (count, 3072)).astype(np.uint8)
    return {b"data": data, b"labels": [int(n) for n in random.randint(0, 10, count)]}


def cifar_files():
    return {name: pickle.dumps(cifar_batch(n), protocol=3) for n, name in enumerate(CIFAR10_MD5)}


@pytest.fixture
def cifar(tmp_path, monkeypatch, closed_url):
    """Writes batches of CIFAR-10's form, with these bytes in place of some of them; every digest is right."""
    monkeypatch.setattr(datasets, "CIFAR10", Remote(f"{closed_url}cifar.tar.gz", 1, "00"))

    def write(**instead):
        files = {**cifar_files(), **instead}
        monkeypatch.setattr(datasets, "CIFAR10_MD5", {name: md5(content) for name, content in files.items()})
        (tmp_path / CIFAR_FOLDER).mkdir()
        for name, content in files.items():
            (tmp_path / CIFAR_FOLDER / name).write_bytes(content)
        return tmp_path

    return write


def test_cifar_is_five_batches_and_a_test_batch(cifar):
    source = read_source("cifar10", cifar(), None, 0)
    batches = [cifar_batch(n) for n in range(6)]
    pictures = [b[b"data"].reshape(4, 3, 32, 32) for b in batches]
    np.testing.assert_array_equal(source.train.images, np.concatenate(pictures[:5]))
    np.testing.assert_array_equal(source.test.images, pictures[5])
    assert source.train.labels.tolist() == [n for b in batches[:5] for n in b[b"labels"]]
    assert source.test.labels.tolist() == batches[5][b"labels"]


def test_pickles_of_an_older_numpy_are_read(cifar):
    """The published files were written when numpy's modules had other names."""
    old = cifar_files()["test_batch"].replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != cifar_files()["test_batch"]
    assert len(read_source("cifar10", cifar(test_batch=old), None, 0).test) == 4


def test_a_damaged_batch_is_named(cifar):
    root = cifar()
    path = root / CIFAR_FOLDER / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        read_source("cifar10", root, None, 0)
    assert str(caught.value).startswith(f"{path}: md5 ")


class Calls:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def harmful(kind, marker):
    calls = {
        "system": Calls(os.system, f"touch {marker}"),
        "eval": Calls(eval, f"open({str(marker)!r}, 'w').close()"),
        "numpy": Calls(np.save, str(marker), 1),
        "inside": np.array([Calls(os.system, f"touch {marker}")], dtype=object),
    }
    return {b"data": calls[kind], b"labels": [1]}


@pytest.mark.parametrize("kind", ["system", "eval", "numpy", "inside"])
def test_a_pickle_of_anything_but_arrays_is_refused_even_with_the_right_digest(cifar, tmp_path, kind):
    marker = tmp_path / "marker.npy"
    root = cifar(data_batch_2=pickle.dumps(harmful(kind, marker)))
    with pytest.raises(pickle.UnpicklingError, match="has no place in a CIFAR-10 file"):
        read_source("cifar10", root, None, 0)
    assert not marker.exists()


def test_an_arrays_name_in_another_module_is_refused(cifar):
    with pytest.raises(pickle.UnpicklingError, match=r"os\.dtype has no place"):
        read_source("cifar10", cifar(data_batch_2=b"\x80\x03cos\ndtype\n."), None, 0)


@pytest.fixture
def archive(cifar, tmp_path, monkeypatch):
    """CIFAR-10 as it is published, one archive; returns (its bytes, a folder without it)."""
    root = cifar()
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as tar:
        tar.add(root / CIFAR_FOLDER, CIFAR_FOLDER)
    content = (tmp_path / "packed.tar.gz").read_bytes()
    empty = tmp_path / "empty"
    empty.mkdir()
    return content, empty


def test_an_archive_that_lies_there_is_unpacked_without_a_network(archive, monkeypatch, closed_url):
    content, root = archive
    monkeypatch.setattr(datasets, "CIFAR10", Remote(closed_url, len(content), md5(content)))
    (root / "cifar-10-python.tar.gz").write_bytes(content)
    assert len(read_source("cifar10", root, None, 0).train) == 20


def test_a_damaged_archive_is_named(archive, monkeypatch, closed_url):
    content, root = archive
    monkeypatch.setattr(datasets, "CIFAR10", Remote(closed_url, len(content), md5(content)))
    (root / "cifar-10-python.tar.gz").write_bytes(content[:-5])
    with pytest.raises(TaskError, match=r"cifar-10-python\.tar\.gz: md5 .* the file is damaged"):
        read_source("cifar10", root, None, 0)


def test_the_archive_is_downloaded_and_unpacked(archive, monkeypatch, server):
    content, root = archive
    server.files["/c.tar.gz"] = content
    monkeypatch.setattr(datasets, "CIFAR10", Remote(f"{server.url}c.tar.gz", len(content), md5(content)))
    assert len(read_source("cifar10", root, None, 0).test) == 4


def test_cifar_that_is_nowhere_is_missing(cifar, tmp_path):
    with pytest.raises(DataMissing, match=r"cifar-10-python\.tar\.gz is not under"):
        read_source("cifar10", tmp_path, None, 0)


@pytest.mark.data
def test_real_cifar(data_root):
    source = read_source("cifar10", data_root, None, 0)
    assert source.train.images.shape == (50000, 3, 32, 32)
    assert source.test.images.shape == (10000, 3, 32, 32)
    names = [source.classes[n] for n in source.train.labels[:5]]
    assert names == ["frog", "truck", "truck", "deer", "automobile"]
    assert source.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    holdout, halves = split_source(source, "holdout"), split_source(source, "test-halves")
    assert [len(p) for p in (holdout.train, holdout.validation, holdout.test)] == [45000, 5000, 10000]
    assert [len(p) for p in (halves.train, halves.validation, halves.test)] == [50000, 5000, 5000]
    assert holdout.fingerprint == "cifar10-holdout-5000-ee941444f98c23d1"
    assert halves.fingerprint == "cifar10-test-halves-5000-e26e264daea82229"
    for part in (holdout.validation, halves.validation, halves.test):
        assert np.bincount(part.labels).tolist() == [500] * 10
    assert not contents(holdout.validation) & contents(holdout.train)
    assert not contents(halves.validation) & contents(halves.test)


# names


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "my_module:data", "some/folder"])
def test_names_that_may_lead_somewhere_are_accepted(name):
    check_data(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("digit", "did you mean 'digits'?"), ("imagenet", "valid: cifar10, digits, mnist"), ("", "valid")],
)
def test_unknown_names_are_refused_with_the_nearest(name, hint):
    with pytest.raises(TaskError) as caught:
        check_data(name)
    assert str(caught.value).startswith(f"data = {name!r}: unknown")
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 5000, "\0"])
def test_names_that_no_file_system_takes_are_unknown(name):
    with pytest.raises(TaskError, match="unknown"):
        check_data(name)


def test_a_folder_without_slashes_is_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    check_data("pictures")


def test_a_folder_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(DataMissing, match="no such folder"):
        read_source(f"{tmp_path}/nothing", tmp_path, None, 0)


FACTORY = """
import numpy as np
from tasks import Arrays, Source

def named(root, image_size):
    part = Arrays(np.zeros((4, image_size), np.float32), np.arange(4))
    return Source(name=root.name, train=part, test=part, classes="abcd")

def bare():
    return named(__import__("pathlib").Path("bare"), 2)

def wrong():
    return [1, 2]
"""


def test_a_factory_of_the_users_gets_what_its_signature_names(write_module, tmp_path):
    write_module("mine", FACTORY)
    source = read_source("mine:named", tmp_path, 7, 0)
    assert (source.name, source.train.images.shape) == (tmp_path.name, (4, 7))
    assert read_source("mine:bare", tmp_path, 7, 0).train.images.shape == (4, 2)


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("mine:wrong", "the factory returned a list, expected a tasks.Source"),
        ("mine:absent", "module 'mine' has no callable 'absent'"),
        ("absent:named", "module 'absent' cannot be imported"),
    ],
)
def test_a_factory_that_does_not_serve_is_refused_in_one_line(write_module, tmp_path, address, rule):
    write_module("mine", FACTORY)
    with pytest.raises(TaskError) as caught:
        read_source(address, tmp_path, None, 0)
    assert rule in str(caught.value)
    assert str(caught.value).startswith(f"data = {address!r}: ")
    assert "\n" not in str(caught.value)
