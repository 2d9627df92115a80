import hashlib
import os
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from tasks import DataMissing, TaskError, cifar
from tasks.cifar import CIFAR10, CIFAR100
from tasks.data import split_source
from tasks.datasets import read_source
from tasks.downloads import Remote

KINDS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
CLASSES = {"cifar10": 10, "cifar100": 100}


def md5(content):
    return hashlib.md5(content).hexdigest()


def contents(part):
    return {image.tobytes() for image in part.images}


def batch(kind, number, count=4):
    """As published: rows of red, green and blue planes; CIFAR-100 has coarse labels beside the fine ones."""
    random = np.random.RandomState(number)
    data = random.randint(0, 256, (count, 3072)).astype(np.uint8)
    labels = [int(n) for n in random.randint(0, CLASSES[kind.name], count)]
    return {b"data": data, kind.labels: labels, b"coarse_labels": [0] * count, b"filenames": [b"x.png"] * count}


def small_files(kind):
    batches = {name: batch(kind, n) for n, name in enumerate([*kind.train, *kind.test])}
    (meta,) = kind.meta
    batches[meta] = {kind.names: [f"class {n}".encode() for n in range(CLASSES[kind.name])]}
    return {name: pickle.dumps(content, protocol=3) for name, content in batches.items()}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    """Both sets go through the same machinery."""
    return KINDS[request.param]


@pytest.fixture
def publish(monkeypatch):
    """Puts small files in place of the real ones: every digest is right."""

    def publish(kind, files, archive):
        digests = {name: md5(content) for name, content in files.items()}
        parts = {part: {n: digests[n] for n in getattr(kind, part)} for part in ("train", "test", "meta")}
        monkeypatch.setattr(cifar, kind.name.upper(), replace(kind, archive=archive, **parts))

    return publish


@pytest.fixture
def write(tmp_path, publish, closed_url):
    """Writes files of CIFAR's form, with these bytes in place of some of them; no network."""

    def write(kind, instead=None):
        files = {**small_files(kind), **(instead or {})}
        publish(kind, files, Remote(closed_url + kind.archive.url.rpartition("/")[2], 1, "00"))
        (tmp_path / kind.folder).mkdir()
        for name, content in files.items():
            (tmp_path / kind.folder / name).write_bytes(content)
        return tmp_path

    return write


def first(kind):
    return next(iter(kind.train))


def test_pictures_labels_and_classes_are_those_of_the_files(kind, write):
    source = read_source(kind.name, write(kind), None, 0)
    batches = [batch(kind, n) for n in range(len(kind.train) + 1)]
    pictures = [b[b"data"].reshape(4, 3, 32, 32) for b in batches]
    np.testing.assert_array_equal(source.train.images, np.concatenate(pictures[:-1]))
    np.testing.assert_array_equal(source.test.images, pictures[-1])
    assert source.train.labels.tolist() == [n for b in batches[:-1] for n in b[kind.labels]]
    assert source.test.labels.tolist() == batches[-1][kind.labels]
    assert list(source.classes) == [f"class {n}" for n in range(CLASSES[kind.name])]
    assert (source.name, source.flip, source.pad, source.holdout) == (kind.name, True, 4, 5000)


def test_pickles_of_an_older_numpy_are_read(kind, write):
    """The published files were written when numpy's modules had other names."""
    now = small_files(kind)[first(kind)]
    old = now.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != now
    assert len(read_source(kind.name, write(kind, {first(kind): old}), None, 0).test) == 4


def test_a_damaged_file_is_named(kind, write):
    root = write(kind)
    path = root / kind.folder / first(kind)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        read_source(kind.name, root, None, 0)
    assert str(caught.value).startswith(f"{path}: md5 ")


def test_labels_without_a_class_are_refused(kind, write):
    (meta,) = kind.meta
    few = pickle.dumps({kind.names: [b"only"]}, protocol=3)
    with pytest.raises(TaskError, match="a label beyond its 1 classes"):
        read_source(kind.name, write(kind, {meta: few}), None, 0)


class Calls:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def harmful(form, marker):
    calls = {
        "system": Calls(os.system, f"touch {marker}"),
        "eval": Calls(eval, f"open({str(marker)!r}, 'w').close()"),
        "numpy": Calls(np.save, str(marker), 1),
        "inside": np.array([Calls(os.system, f"touch {marker}")], dtype=object),
    }
    return {b"data": calls[form], b"labels": [1], b"fine_labels": [1]}


@pytest.mark.parametrize("form", ["system", "eval", "numpy", "inside"])
def test_a_pickle_of_anything_but_arrays_is_refused_even_with_the_right_digest(kind, write, tmp_path, form):
    marker = tmp_path / "marker.npy"
    root = write(kind, {first(kind): pickle.dumps(harmful(form, marker))})
    with pytest.raises(pickle.UnpicklingError, match="has no place in a CIFAR file"):
        read_source(kind.name, root, None, 0)
    assert not marker.exists()


def test_an_arrays_name_in_another_module_is_refused(kind, write):
    root = write(kind, {first(kind): b"\x80\x03cos\ndtype\n."})
    with pytest.raises(pickle.UnpicklingError, match=r"os\.dtype has no place"):
        read_source(kind.name, root, None, 0)


@pytest.fixture
def archive(kind, write, tmp_path):
    """The set as it is published, one archive; (its bytes, a folder without it)."""
    root = write(kind)
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as tar:
        tar.add(root / kind.folder, kind.folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    return (tmp_path / "packed.tar.gz").read_bytes(), empty


def file_name(kind):
    return f"{kind.folder.replace('-batches-py', '-python')}.tar.gz"


def remote(kind, url, content):
    return Remote(f"{url}{file_name(kind)}", len(content), md5(content))


def test_an_archive_that_lies_there_is_unpacked_without_a_network(kind, archive, publish, closed_url):
    content, root = archive
    publish(kind, small_files(kind), remote(kind, closed_url, content))
    (root / file_name(kind)).write_bytes(content)
    assert len(read_source(kind.name, root, None, 0).train) == 4 * len(kind.train)


def test_a_damaged_archive_is_named(kind, archive, publish, closed_url):
    content, root = archive
    publish(kind, small_files(kind), remote(kind, closed_url, content))
    (root / file_name(kind)).write_bytes(content[:-5])
    with pytest.raises(TaskError, match=r"cifar-100?-python\.tar\.gz: md5 .* the file is damaged"):
        read_source(kind.name, root, None, 0)


def test_the_archive_is_downloaded_said_to_be_and_unpacked(kind, archive, publish, server, capsys):
    content, root = archive
    server.files[f"/{file_name(kind)}"] = content
    publish(kind, small_files(kind), remote(kind, server.url, content))
    assert len(read_source(kind.name, root, None, 0).test) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"downloading {server.url}{file_name(kind)} ({len(content) / 1e6:.1f} MB) to {root}"


def test_what_is_nowhere_is_missing(kind, write, tmp_path):
    empty = write(kind) / "empty"
    with pytest.raises(DataMissing, match=r"cifar-100?-python\.tar\.gz is not under"):
        read_source(kind.name, empty, None, 0)


@pytest.mark.usefixtures("timm")
def test_files_and_digests_are_torchvisions():
    from torchvision import datasets as theirs

    for kind, other in ((CIFAR10, theirs.CIFAR10), (CIFAR100, theirs.CIFAR100)):
        assert [list(pair) for pair in kind.train.items()] == other.train_list
        assert [list(pair) for pair in kind.test.items()] == other.test_list
        assert kind.meta == {other.meta["filename"]: other.meta["md5"]}
        assert kind.names.decode() == other.meta["key"]
        assert (kind.folder, kind.archive.url, kind.archive.digest) == (other.base_folder, other.url, other.tgz_md5)
        assert file_name(kind) == other.filename


@pytest.mark.data
def test_real_cifar10(data_root):
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
