import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import Arrays, Source, TaskError
from tasks.data import shared, split_source

POLICIES = ("holdout", "test-halves")


def part_numbers(part):
    """(7 for a training picture or 9 for a test picture, its number)."""
    return {(int(x[0, 0, 1]), int(x[0, 0, 0])) for x in part.images}


@pytest.mark.parametrize(
    ("images", "labels", "rule"),
    [
        (np.zeros((3, 1, 2, 2), np.uint8), np.zeros(2, np.int64), "3 images and 2 labels"),
        (np.zeros((0, 1, 2, 2), np.uint8), np.zeros(0, np.int64), "0 images and 0 labels"),
        (np.zeros((2, 1, 2, 2), np.float64), np.zeros(2, np.int64), "images of type float64"),
        (np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.uint8), "labels of type uint8"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(images, labels, rule):
    with pytest.raises(TaskError, match=rule):
        Arrays(images, labels)


def test_taking_rows_copies_them():
    arrays = Arrays(np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(4))
    taken = arrays.take(np.array([2, 0]))
    assert taken.labels.tolist() == [2, 0]
    assert taken.images.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert len(taken) == 2
    assert not np.shares_memory(taken.images, arrays.images)


def test_holdout_takes_validation_from_training_and_leaves_the_test_part(make_source):
    source = make_source(train=20, test=10, holdout=6)
    data = split_source(source, "holdout")
    assert data.split == "holdout-6"
    assert [len(p) for p in (data.train, data.validation, data.test)] == [14, 6, 10]
    train, validation = part_numbers(data.train), part_numbers(data.validation)
    assert not train & validation
    assert train | validation == part_numbers(source.train)
    assert part_numbers(data.test) == part_numbers(source.test)


def test_test_halves_divides_the_test_part_and_leaves_the_training_part(make_source):
    source = make_source(train=20, test=11)
    data = split_source(source, "test-halves")
    assert data.split == "test-halves-5"
    assert [len(p) for p in (data.train, data.validation, data.test)] == [20, 5, 6]
    validation, test = part_numbers(data.validation), part_numbers(data.test)
    assert not validation & test
    assert validation | test == part_numbers(source.test)
    assert part_numbers(data.train) == part_numbers(source.train)


@pytest.mark.parametrize("policy", POLICIES)
def test_labels_follow_their_pictures(make_source, policy):
    source = make_source(train=30, test=20, classes=5)
    data = split_source(source, policy)
    for part in (data.train, data.validation, data.test):
        assert (part.images[:, 0, 0, 0] % 5).tolist() == part.labels.tolist()


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), share=st.floats(0.01, 0.99))
def test_a_split_is_stratified_disjoint_and_fixed(labels, share):
    labels = np.array(labels, dtype=np.int64)
    count = min(max(1, round(share * len(labels))), len(labels) - 1)
    part = Arrays(np.arange(len(labels), dtype=np.float32)[:, None], labels)
    source = Source(name="made", train=part, test=part, classes=range(5), holdout=count)
    data, again = split_source(source, "holdout"), split_source(source, "holdout")
    held, kept = data.validation.images[:, 0], data.train.images[:, 0]
    assert sorted([*held, *kept]) == list(range(len(labels)))
    assert len(held) == count
    assert held.tolist() == sorted(held)
    np.testing.assert_array_equal(held, again.validation.images[:, 0])
    for kind, size in zip(*np.unique(labels, return_counts=True), strict=True):
        assert abs((data.validation.labels == kind).sum() - size * count / len(labels)) < 1


def test_a_split_is_drawn_not_cut(make_source):
    """The held-out pictures are spread over the part."""
    held = split_source(make_source(train=200, holdout=20), "holdout").validation.images[:, 0, 0, 0]
    assert held.min() < 60
    assert held.max() > 140


@pytest.mark.parametrize("holdout", [0, 20, 21])
def test_a_holdout_that_leaves_nothing_is_refused(make_source, holdout):
    with pytest.raises(TaskError, match=f"{holdout} images cannot be held out of 20"):
        split_source(make_source(train=20, holdout=holdout), "holdout")


def test_the_rest_of_a_source_is_kept(make_source):
    source = make_source(mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0], flip=True, pad=3)
    data = split_source(source, "holdout")
    assert (data.name, data.mean, data.std) == ("made", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert (data.flip, data.pad, data.classes, data.input_shape) == (True, 3, ("0", "1"), (3, 4, 4))


def test_a_fingerprint_tells_training_data_and_splits_apart(make_source):
    def mark(change=None, policy="holdout", **keywords):
        source = make_source(**keywords)
        if change:
            change(source)
        return split_source(source, policy).fingerprint

    def image(source):
        source.train.images[:] ^= 1

    def label(source):
        source.train.labels[:] = 1 - source.train.labels

    marks = [mark(), mark(image), mark(label), mark(policy="test-halves"), mark(holdout=7)]
    assert len(set(marks)) == len(marks)
    assert mark() == marks[0]
    assert marks[0].startswith("made-holdout-4-")


def test_the_normalisation_of_a_start_replaces_that_of_the_data(make_data):
    data = make_data(mean=(0.1,), std=(0.2,))
    changed = data.normalised([0.3, 0.4, 0.5], [1, 2, 3])
    assert (changed.mean, changed.std) == ((0.3, 0.4, 0.5), (1, 2, 3))
    assert changed.train is data.train
    assert data.normalised(None, None) is data


def random_pictures(count, size):
    images = np.random.RandomState(0).randint(0, 256, (count, 3, size, size), dtype=np.uint8)
    return Arrays(images, np.zeros(count, np.int64))


def test_read_only_arrays_are_shared_without_a_warning():
    arrays = random_pictures(2, 6)
    arrays.images.setflags(write=False)
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        assert shared(arrays.images).data_ptr() == arrays.images.ctypes.data
    finally:
        torch.set_warn_always(before)
