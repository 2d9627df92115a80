import numpy as np
import pytest
from PIL import Image

from tasks import TaskError
from tasks.data import split_source
from tasks.folder import read_folder

COLOURS = {"red": (200, 30, 40), "green": (20, 180, 60), "blue": (10, 50, 220)}


def write(folder, colour, count, size=(12, 9), mode="RGB", kind="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        Image.new("RGB", size, colour).convert(mode).save(folder / f"{n:02d}.{kind}")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "colours"
    for name, colour in COLOURS.items():
        write(folder / "train" / name, colour, 7)
        write(folder / "test" / name, colour, 2)
    return folder


def test_a_folder_is_a_data_set(pictures):
    source = read_folder(pictures, None, 0)
    assert source.name == "colours"
    assert source.classes == ["blue", "green", "red"]
    assert source.train.images.shape == (21, 3, 32, 32)
    assert source.test.images.shape == (6, 3, 32, 32)
    assert source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for image, label in zip(source.train.images, source.train.labels, strict=True):
        assert image[:, 5, 7].tolist() == list(COLOURS[source.classes[label]])
    assert (source.flip, source.pad, source.holdout) == (True, 4, 4)


def test_its_normalisation_is_that_of_its_training_pictures(pictures):
    source = read_folder(pictures, None, 0)
    pixels = source.train.images / 255
    np.testing.assert_allclose(source.mean, pixels.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(source.std, pixels.std((0, 2, 3)), rtol=1e-5)


def test_a_fifth_is_held_out(pictures):
    data = split_source(read_folder(pictures, 8, 0), "holdout")
    assert [len(p) for p in (data.train, data.validation, data.test)] == [17, 4, 6]
    assert set(data.validation.labels.tolist()) == {0, 1, 2}


def test_pictures_of_any_size_and_mode_are_scaled_and_made_rgb(pictures):
    write(pictures / "train" / "red", COLOURS["red"], 1, size=(40, 3), mode="RGBA")
    write(pictures / "train" / "green", (90, 90, 90), 1, mode="L")
    write(pictures / "train" / "blue", COLOURS["blue"], 1, mode="P", kind="gif")
    images = read_folder(pictures, 16, 0).train.images
    assert images.shape == (22, 3, 16, 16)  # the gif stands beside seven PNGs, the others replace one each
    assert images[8].reshape(3, -1).T.tolist() == [[90, 90, 90]] * 256
    assert images[15].reshape(3, -1).T.tolist() == [list(COLOURS["red"])] * 256


def test_threads_change_nothing(pictures):
    one, four = (read_folder(pictures, 8, workers) for workers in (0, 4))
    np.testing.assert_array_equal(one.train.images, four.train.images)
    np.testing.assert_array_equal(one.train.labels, four.train.labels)


@pytest.mark.parametrize("content", [b"no picture", b"", "short", "broken chunk"])
def test_a_file_that_is_no_picture_is_named(pictures, content):
    path = pictures / "train" / "green" / "01.png"
    whole = path.read_bytes()
    start = whole.index(b"IDAT") - 4
    damaged = {"short": whole[:-25], "broken chunk": whole[:start] + b"\0\0\0\x05" + whole[start + 4 :]}
    path.write_bytes(damaged.get(content, content) if isinstance(content, str) else content)
    with pytest.raises(TaskError, match="not a picture") as caught:
        read_folder(pictures, None, 0)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_one_class_is_no_data_set(tmp_path):
    write(tmp_path / "train" / "only", (1, 2, 3), 2)
    with pytest.raises(TaskError, match="two classes or more, found 1"):
        read_folder(tmp_path, None, 0)


def test_an_empty_folder_is_no_data_set(tmp_path):
    with pytest.raises(TaskError, match="two classes or more, found 0"):
        read_folder(tmp_path, None, 0)


def test_a_part_without_pictures_is_refused(pictures):
    for path in (pictures / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(TaskError, match="holds no pictures in folders named blue, green, red"):
        read_folder(pictures, None, 0)
