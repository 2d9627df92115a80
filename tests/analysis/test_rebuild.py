"""A study's task from its folder alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from analysis.rebuild import rebuild
from analysis.studies import BadStudy
from analysis.verify import Record, Wishes, check
from compress.artifact import ArtifactError, decode
from tests.analysis.conftest import make_study, own_space

CPU = torch.device("cpu")


def points_of(folder):
    from analysis.studies import open_study

    return open_study(str(folder), folder.parent)


def change(folder, **values):
    """Set keys of study.yaml; those of the task are written task__key."""
    about = yaml.safe_load((folder / "study.yaml").read_text())
    for key, value in values.items():
        head, _, rest = key.partition("__")
        (about["resolved"]["task"] if rest else about)[rest or head] = value
    (folder / "study.yaml").write_text(yaml.safe_dump(about))


@pytest.mark.parametrize("name", ["digits", "own"])
def test_task_and_network_come_back(studies, name):
    study = rebuild(studies / name, studies)
    artifact = decode(points_of(studies / name)[0].file.read_bytes())
    network = study.network(artifact)
    assert not network.training
    for key, value in artifact.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    part = study.part("validation", artifact, CPU)
    assert len(part) == {"digits": 300, "own": 1200}[name]
    assert part.mean.flatten().tolist() == pytest.approx(artifact.card["normalisation"]["mean"])


def test_the_normalisation_is_that_of_the_file(digits):
    """Published weights have their own; the data set's would be wrong."""
    study = rebuild(digits, digits)
    artifact = decode(points_of(digits)[0].file.read_bytes())
    artifact.card["normalisation"]["mean"] = [0.25]
    assert study.part("validation", artifact, CPU).mean.item() == 0.25
    for spoilt in ({"mean": [0.2]}, {"mean": ["x"], "std": [1]}, None):
        artifact.card["normalisation"] = spoilt
        with pytest.raises(ArtifactError, match="card: normalisation must give mean and std"):
            study.part("validation", artifact, CPU)


def test_a_start_that_is_no_longer_there_is_not_missed(digits):
    change(digits, task__start="gone.pt")
    assert rebuild(digits, digits).task.spec.start == "gone.pt"


def test_other_data_are_refused(digits):
    study = rebuild(digits, digits)
    artifact = decode(points_of(digits)[0].file.read_bytes())
    artifact.card["fingerprint"] = "digits-holdout-300-00"
    with pytest.raises(BadStudy, match=r"data here are 'digits-holdout-300-\w+', the file's 'digits-holdout-300-00'; "):
        study.part("validation", artifact, CPU)


def test_a_network_of_other_shapes_does_not_fit(digits):
    change(digits, task__network={"name": "mlp", "hidden": [7]})
    artifact = decode(points_of(digits)[0].file.read_bytes())
    with pytest.raises(ArtifactError, match="tensors do not fit the network"):
        rebuild(digits, digits).network(artifact)


def test_a_network_that_cannot_be_built_is_bad_input(digits):
    change(digits, task__network="mpl")
    artifact = decode(points_of(digits)[0].file.read_bytes())
    with pytest.raises(BadStudy, match="network = 'mpl': unknown; did you mean 'mlp'"):
        rebuild(digits, digits).network(artifact)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task__data": "digit"}, r"data = 'digit': unknown.*; study\.yaml names it as seen from where the search"),
        ({"task__data": "gone.module:data"}, r"module 'gone\.module' cannot be imported"),
        ({"task__data": "gone/pictures"}, r"no such folder; --data-root or RATEFRONT_DATA says where data lie \(now "),
        ({"split": "holdout-200"}, r"data = 'digits': divided as holdout-300 here, as holdout-200 in study\.yaml"),
        ({"split": "thirds"}, r"data = 'digits': divided as test-halves-150 here, as thirds in study\.yaml"),
        ({"task__network": 3}, "describes no task"),
        ({"task__network": {"hidden": [3]}}, "describes no task"),
        ({"task__image_size": "big"}, "describes no task"),
        ({"task__workers": -1}, "describes no task"),
    ],
)
def test_a_task_that_is_not_to_be_had_is_one_line(digits, values, message):
    change(digits, **values)
    with pytest.raises(BadStudy, match=message) as caught:
        rebuild(digits, digits)
    assert "\n" not in str(caught.value)


def test_absent_data_are_one_line(digits, no_network):
    change(digits, task__data="mnist")
    with pytest.raises(BadStudy, match=r"is not under .*--data-root or RATEFRONT_DATA"):
        rebuild(digits, digits / "empty")


def test_a_folder_of_pictures_scaled_a_batch_at_a_time(studies):
    """Other sizes than those on disk: the scaling is part of what is measured."""
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        for number, name in enumerate(("dark", "light")):
            folder = studies / "pictures" / part / name
            folder.mkdir(parents=True)
            for n in range(count):
                pixels = random.integers(100 * number, 100 * number + 150, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{n}.png")
    folder = make_study(studies / "painted", own_space(data="pictures", image_size=8, batch_size=16), [{}])
    record = Record.of(points_of(folder)[0])
    assert record.evaluation.memory_format == "channels_last"
    finding = check(record, rebuild(folder, studies), Wishes())
    assert (finding.problems, finding.now) == ([], record.evaluation)
    (studies / "pictures" / "train" / "dark" / "0.png").unlink()
    with pytest.raises(BadStudy, match=re.escape("divided as holdout-15 here, as holdout-16 in study.yaml")):
        rebuild(folder, studies)
