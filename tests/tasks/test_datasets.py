import pytest

from tasks import DataMissing, TaskError
from tasks.data import split_source
from tasks.datasets import check_data, read_source


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


# names


@pytest.mark.parametrize(
    "name", ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "my_module:data", "some/folder"]
)
def test_names_that_may_lead_somewhere_are_accepted(name):
    check_data(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit", "did you mean 'digits'?"),
        ("cifar1000", "did you mean 'cifar100'?"),
        ("", "valid: cifar10, cifar100, digits, fashion_mnist, mnist"),
    ],
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
