from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks import Arrays, Part, evaluate
from tasks.batches import augment, generator, training_batches

CPU = torch.device("cpu")


def part_of(data):
    return Part.of(data.train, data, CPU)


def epoch(data, size=4, images=None, draw=(0, 0)):
    return list(training_batches(part_of(data), data, size, images, draw))


def numbers(data, batches):
    """Which pictures are in the batches, read off their first pixel."""
    return [round(float(x)) for inputs, _ in batches for x in inputs[:, 0, 0, 0] * 255]


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_a_generator_is_the_same_for_the_same_purpose_and_another_for_any_other():
    def draw(*key):
        return tuple(torch.randint(0, 2**60, (2,), generator=generator(*key)).tolist())

    keys = [(seed, epoch, purpose) for seed in (0, 1) for epoch in (0, 1) for purpose in ("order", "augment")]
    assert [draw(*key) for key in keys] == [draw(*key) for key in keys]
    assert len({draw(*key) for key in keys}) == len(keys)


def test_an_epoch_is_the_same_whenever_it_is_drawn(make_data):
    data = make_data(flip=True, pad=1)
    later = epoch(data, draw=(3, 5))
    epoch(data, draw=(3, 4))
    torch.manual_seed(99)
    assert same(epoch(data, draw=(3, 5)), later)


@pytest.mark.parametrize("other", [(3, 6), (4, 5)])
def test_another_epoch_or_seed_has_another_order_of_the_same_pictures(make_data, other):
    data = make_data(train=40)
    first, second = (numbers(data, epoch(data, draw=draw)) for draw in ((3, 5), other))
    assert first != second
    assert sorted(first) == sorted(second) == sorted(data.train.images[:, 0, 0, 0].tolist())


def test_another_epoch_is_shaken_otherwise(make_data):
    """One picture alone has no order, so only the augmentation can differ."""
    data = make_data(train=2, holdout=1, shape=(1, 8, 8), flip=True, pad=4)
    drawn = {tuple(x.flatten().tolist()) for n in range(20) for x, _ in epoch(data, draw=(0, n))}
    assert len(drawn) > 10


def test_labels_stay_with_their_pictures(make_data):
    data = make_data(train=30, classes=5)
    owner = dict(zip(data.train.images[:, 0, 0, 0].tolist(), data.train.labels.tolist(), strict=True))
    batches = epoch(data, size=7)
    assert [owner[n] for n in numbers(data, batches)] == [int(y) for _, labels in batches for y in labels]


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(9, 4, [4, 4]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (5, 100, [5]), (1, 4, [1])]
)
def test_a_last_batch_of_one_picture_is_dropped_unless_it_is_the_only_one(make_data, count, size, sizes):
    data = make_data(train=count + 1, holdout=1)
    assert [len(labels) for _, labels in epoch(data, size=size)] == sizes


def test_batches_of_one_picture_are_all_kept_when_they_are_asked_for(make_data):
    data = make_data(train=6, holdout=1)
    assert sorted(numbers(data, epoch(data, size=1))) == sorted(data.train.images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize(("images", "expected"), [(None, 16), (6, 6), (16, 16), (99, 16)])
def test_images_limits_an_epoch_to_another_sample_each_time(make_data, images, expected):
    data = make_data(train=20, holdout=4)
    seen = [numbers(data, epoch(data, images=images, draw=(0, n))) for n in range(8)]
    assert {len(each) for each in seen} == {expected}
    assert all(len(set(each)) == expected for each in seen)
    assert len({frozenset(each) for each in seen}) > 1 or expected == 16


def test_normalisation_is_that_of_each_channel(make_data):
    data = make_data(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    part = part_of(data)
    found = part.normalise(part.images)
    for channel, (mean, std) in enumerate(zip(data.mean, data.std, strict=True)):
        expected = (data.train.images[:, channel] / np.float64(255) - mean) / std
        np.testing.assert_allclose(found[:, channel], expected, atol=1e-6)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_training_inputs_are_normalised(make_data):
    data = make_data(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    part = part_of(data)
    by_number = {int(x[0, 0, 0]): part.normalise(x[None])[0] for x in part.images}
    raw_first = [round(float(x * 0.5 + 0.1) * 255) for inputs, _ in epoch(data) for x in inputs[:, 0, 0, 0]]
    inputs = torch.cat([x for x, _ in epoch(data)])
    torch.testing.assert_close(inputs, torch.stack([by_number[n] for n in raw_first]))


@pytest.mark.parametrize("shape", [(7,), (2, 7)])
def test_features_are_normalised_but_neither_scaled_nor_shaken(make_data, shape):
    data = replace(make_data(flip=True, pad=2, mean=(1.0,), std=(2.0,)), image_size=5)
    features = Arrays(np.random.RandomState(0).randn(12, *shape).astype(np.float32), np.arange(12))
    part = Part.of(features, data, CPU)
    inputs = torch.cat([x for x, _ in training_batches(part, data, 5, None, (0, 0))])
    expected = (features.images - 1) / 2
    assert sorted(map(tuple, inputs.flatten(1).tolist())) == sorted(map(tuple, expected.reshape(12, -1).tolist()))


def naive_variants(image, flip, pad):
    """Every picture that mirroring and shifting may make of one (C, H, W) picture, pixel by pixel."""
    height, width = image.shape[1:]
    variants = set()
    for mirrored in (False, True) if flip else (False,):
        for down in range(-pad, pad + 1):
            for right in range(-pad, pad + 1):
                moved = np.zeros_like(image)
                for y in range(height):
                    for x in range(width):
                        from_y, from_x = y + down, x + right
                        if 0 <= from_y < height and 0 <= from_x < width:
                            source = width - 1 - from_x if mirrored else from_x
                            moved[:, y, x] = image[:, from_y, source]
                variants.add(moved.tobytes())
    return variants


pictures = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


@settings(max_examples=60, deadline=None)
@given(shape=pictures, flip=st.booleans(), pad=st.integers(0, 3), seed=st.integers(0, 10**6))
def test_augmentation_only_mirrors_and_shifts(shape, flip, pad, seed):
    images = np.random.RandomState(seed).randint(1, 256, shape, dtype=np.uint8)
    shaken = augment(torch.from_numpy(images.copy()), flip, pad, generator(seed, 0, "augment")).numpy()
    assert (shaken.shape, shaken.dtype) == (images.shape, images.dtype)
    for before, after in zip(images, shaken, strict=True):
        assert np.ascontiguousarray(after).tobytes() in naive_variants(before, flip, pad)


def test_augmentation_makes_every_variant_about_equally_often():
    image = np.random.RandomState(0).randint(1, 256, (2, 4, 5), dtype=np.uint8)
    many = torch.from_numpy(image).expand(3600, -1, -1, -1)
    shaken = augment(many, True, 1, generator(0, 0, "augment")).numpy()
    found, counts = np.unique(shaken.reshape(3600, -1), axis=0, return_counts=True)
    assert {row.tobytes() for row in found} == naive_variants(image, True, 1)
    assert counts.min() > 130  # of 200 expected of each of 18, five standard deviations
    assert counts.max() < 270


def test_without_augmentation_pictures_stay_as_they_are():
    images = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    assert torch.equal(augment(images, False, 0, generator(0, 0, "augment")), images)


@pytest.fixture
def warn_always():
    """PyTorch warns of read-only arrays once a process; here it must never."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.usefixtures("warn_always")
def test_read_only_arrays_are_used_in_place_without_warnings(make_data, small_net):
    data = make_data(train=40, holdout=8, classes=5, flip=True, pad=1)
    for arrays in (data.train, data.validation):
        arrays.images.setflags(write=False)
        arrays.labels.setflags(write=False)
    before = data.train.images.copy()
    part = part_of(data)
    assert part.images.data_ptr() == data.train.images.ctypes.data
    assert part.labels.data_ptr() == data.train.labels.ctypes.data
    list(training_batches(part, data, 8, None, (0, 0)))
    evaluate(small_net, part)
    np.testing.assert_array_equal(data.train.images, before)


def test_a_part_has_the_length_of_its_labels(make_data):
    assert len(part_of(make_data(train=20, holdout=4))) == 16


@pytest.mark.parametrize("size", [5, 8, 24])
def test_scaling_agrees_with_pillow(size):
    images = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (3, 3, 12, 12), dtype=np.uint8))
    part = Part(images, torch.zeros(3, dtype=torch.int64), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), size)
    for before, after in zip(images, part.normalise(images), strict=True):
        assert after.shape == (3, size, size)
        picture = Image.fromarray(before.permute(1, 2, 0).numpy()).resize((size, size), Image.Resampling.BILINEAR)
        expected = torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy()).float() / 255
        assert (after - expected).abs().max() <= 1.5 / 255


@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 6, 4), (3, 4, 4)])
def test_inputs_have_the_shape_that_the_data_promise(make_data, shape):
    """Oblong pictures too, one of whose sides is right already."""
    data = replace(make_data(shape=shape), image_size=4)
    inputs = torch.cat([x for x, _ in epoch(data)])
    assert inputs.shape[1:] == data.input_shape == (3, 4, 4)


def test_pictures_of_the_right_size_keep_every_pixel(make_data):
    data = make_data()
    part, sized = part_of(data), part_of(replace(data, image_size=4))
    assert torch.equal(sized.normalise(sized.images), part.normalise(part.images))
