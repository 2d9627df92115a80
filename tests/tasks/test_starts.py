import hashlib
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from compress.artifact import encode
from compress.symbols import raw
from tasks import DataMissing, TaskError, starts
from tasks.networks import build_network
from tasks.starts import PUBLISHED, Published, Start, find_start

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([1.0, -2.0])}


def same_state(state):
    return set(state) == set(STATE) and all(torch.equal(state[name], value) for name, value in STATE.items())


def find(start, root="unused", network="mlp", plain=True, data="digits"):
    return find_start(str(start), network, plain, data, Path(root))


def refused(start, **keywords):
    with pytest.raises(TaskError) as caught:
        find(start, **keywords)
    assert str(caught.value).startswith(f"start = {str(start)!r}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(path, content, **keywords):
    torch.save(content, path, **keywords)
    return path


# words


@pytest.mark.parametrize("word", ["train", "scratch"])
def test_a_network_that_the_study_trains_has_its_own_holdout(word):
    assert find(word) == Start(word, "trained here", "holdout")


@pytest.mark.parametrize(("network", "plain"), [("mlp", True), ("resnet20", False)])
def test_without_published_weights_auto_trains_and_published_is_refused(network, plain):
    place = {"network": network, "plain": plain, "data": "cifar10"}
    assert find("auto", **place) == find("train")
    with pytest.raises(DataMissing, match="no published weights are known for this network on cifar10"):
        find("published", **place)


@pytest.fixture
def published(server, monkeypatch):
    """Weights for mlp on digits, published by the server under the beginning of their digest."""
    file = io.BytesIO()
    torch.save({"state_dict": {f"module.{name}": value for name, value in STATE.items()}, "best": 91.7}, file)
    content = file.getvalue()
    name = f"mlp-{hashlib.sha256(content).hexdigest()[:8]}.th"
    server.files[f"/{name}"] = content
    monkeypatch.setattr(starts, "_AKAMASTER", server.url)
    monkeypatch.setitem(PUBLISHED, ("mlp", "digits"), Published(name, len(content)))
    return name


@pytest.mark.parametrize("word", ["auto", "published"])
def test_published_weights_are_fetched_once_and_bring_split_and_normalisation(published, server, tmp_path, word):
    start = find(word, tmp_path)
    assert (start.kind, start.origin, start.split) == ("published", published, "test-halves")
    assert (start.mean, start.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert same_state(start.state)
    assert [p.name for p in (tmp_path / "pretrained").iterdir()] == [published]
    server.files.clear()
    assert same_state(find(word, tmp_path).state)


def test_a_study_from_scratch_is_measured_against_published_weights_and_split_like_them(published, tmp_path):
    start = find("scratch", tmp_path)
    assert (start.kind, start.origin, start.split) == ("scratch", published, "test-halves")
    assert same_state(start.state)


def test_without_a_network_auto_trains_and_published_is_missing(published, server, tmp_path):
    server.files.clear()
    assert find("auto", tmp_path).kind == "train"
    with pytest.raises(DataMissing, match="cannot be downloaded"):
        find("published", tmp_path)


@pytest.mark.parametrize("word", ["auto", "published"])
def test_damaged_published_weights_are_named_and_not_trained_over(published, tmp_path, word):
    path = tmp_path / "pretrained" / published
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        find(word, tmp_path)
    assert str(caught.value).startswith(f"{path}: sha256 ")


@pytest.mark.data
@pytest.mark.parametrize("network", ["resnet20", "resnet32", "resnet44", "resnet56"])
def test_real_published_weights_load_strictly(data_root, network):
    start = find("published", data_root, network, data="cifar10")
    assert start.origin.startswith(f"{network}-")
    assert build_network(network, (3, 32, 32), 10, {}).load_state_dict(start.state, strict=True)


# files


@pytest.mark.parametrize("name", ["a.pt", "a.th", "a.bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_a_start_that_may_have_seen_all_training_images(tmp_path, name, zipped):
    path = saved(tmp_path / name, STATE, _use_new_zipfile_serialization=zipped)
    start = find(path)
    assert (start.kind, start.origin, start.split, start.mean) == ("file", name, "test-halves", None)
    assert same_state(start.state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": state, "epoch": 3, "best": 0.9},
        lambda state: {"state_dict": {f"module.{name}": nn.Parameter(value) for name, value in state.items()}},
    ],
)
def test_a_state_dict_is_found_under_its_key_and_without_the_prefix_of_data_parallel(tmp_path, wrap):
    assert same_state(find(saved(tmp_path / "a.pt", wrap(STATE))).state)


def test_another_pickle_protocol_is_no_warning(tmp_path):
    assert same_state(find(saved(tmp_path / "a.pt", STATE, pickle_protocol=3)).state)


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "mine.pt", STATE)
    assert find("~/mine.pt").origin == "mine.pt"


def test_a_file_that_is_not_there_is_refused_with_the_words(tmp_path):
    rule = "must be auto, published, train, scratch, or a file that exists"
    assert rule in refused(tmp_path / "nothing.pt")
    assert rule in refused(tmp_path)
    assert rule in refused("pubished")


@pytest.mark.parametrize(
    "content",
    [{}, {"state_dict": {}}, {"state_dict": [1, 2]}, {"weight": 3}, {"a": torch.zeros(1), "b": 1}, torch.zeros(2), [1]],
    ids=repr,
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    assert "holds no state dict" in refused(saved(tmp_path / "a.pt", content))


class Harmful:
    """Unpickles to the result of a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_objects_is_refused_and_never_run(tmp_path, zipped):
    marker = tmp_path / "marker"
    path = saved(tmp_path / "a.pt", {"w": Harmful(marker)}, _use_new_zipfile_serialization=zipped)
    assert "does not load safely" in refused(path)
    path.write_bytes(pickle.dumps(Harmful(marker)))
    assert "does not load safely" in refused(path)
    assert not marker.exists()


def test_a_whole_network_is_refused_with_what_to_save_instead(tmp_path):
    path = saved(tmp_path / "a.pt", nn.Linear(2, 2))
    assert refused(path).endswith("must be a state dict, saved by torch.save(network.state_dict(), path)")


def whole_file():
    file = io.BytesIO()
    torch.save(STATE, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x04.", b"(", whole_file()[:-9]])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    assert "does not load safely" in refused(path)


damages = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages=damages, suffix=st.sampled_from([".pt", ".rf"]), kept=st.floats(0, 1))
def test_no_damage_makes_anything_but_a_task_error(tmp_path, damages, suffix, kept):
    content = bytearray(whole_file() if suffix == ".pt" else artifact())
    for place, value in damages:
        content[place % len(content)] = value
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content[: max(1, round(kept * len(content)))] if kept < 0.5 else content)
    try:
        state = find(path).state
    except TaskError:
        state = {}
        refused(path)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


# artifacts


def artifact(**card):
    tensors = [raw(name, value.numpy()) for name, value in STATE.items()]
    return encode({"network": {"name": "mlp", "kwargs": {}}, **card}, tensors)


@pytest.fixture
def ship(tmp_path):
    def write(**card):
        path = tmp_path / "trial.rf"
        path.write_bytes(artifact(**card))
        return path

    return write


def test_an_artifact_keeps_the_holdout_it_was_trained_beside_and_its_normalisation(ship):
    norm = {"mean": [0.25], "std": [0.5]}
    start = find(ship(data="digits", split="holdout-300", normalisation=norm))
    assert (start.kind, start.origin, start.split) == ("artifact", "trial.rf", "holdout")
    assert (start.mean, start.std) == ([0.25], [0.5])
    assert same_state(start.state)


@pytest.mark.parametrize(
    "card",
    [
        {"data": "mnist", "split": "holdout-300"},
        {"data": "digits", "split": "test-halves-150"},
        {"data": "digits"},
        {"split": "holdout-300"},
        {"data": "digits", "split": 3},
    ],
)
def test_any_other_artifact_may_have_seen_all_training_images(ship, card):
    start = find(ship(**card))
    assert (start.split, start.mean, start.std) == ("test-halves", None, None)


@pytest.mark.parametrize("norm", [[1, 2], "x", {"mean": [0.1]}, {"mean": "x", "std": [1]}, {"mean": 3, "std": [1]}])
def test_a_normalisation_that_is_none_is_refused(ship, norm):
    assert "the normalisation in its card must give mean and std" in refused(ship(normalisation=norm))


def test_a_damaged_artifact_is_refused(ship):
    path = ship()
    path.write_bytes(path.read_bytes()[:-1])
    assert "the file is damaged or cut off" in refused(path)
    path.write_bytes(np.zeros(100).tobytes())
    assert "not an artifact" in refused(path)
