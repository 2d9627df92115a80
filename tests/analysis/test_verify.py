"""The rule of equal and unequal conditions, on real files and records that were tampered with."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
import torch

from analysis.rebuild import rebuild
from analysis.studies import BadStudy, open_study
from analysis.verify import Record, Wishes, check, verify
from compress.artifact import decode, encode


def points_of(folder):
    return open_study(str(folder), folder.parent)


@pytest.fixture
def verified():
    """Verify a study: (whether it holds, the lines it says)."""

    def call(folder, **wishes):
        said = []
        held = verify(points_of(folder), rebuild(folder, folder), Wishes(**wishes), said.append)
        return held, "\n".join(said).splitlines()

    return call


@pytest.mark.parametrize("name", ["digits", "own"])
def test_an_untouched_study_holds(studies, verified, name):
    held, lines = verified(studies / name)
    assert held
    count = len(points_of(studies / name))
    assert lines[-1] == f"verified: {count} network{'s' if count > 1 else ''}"
    assert sum(line.endswith("ok    the same") for line in lines) == count
    assert "memory_format " + {"digits": "contiguous", "own": "channels_last"}[name] in lines[1]


def test_every_record_is_counted_again(digits):
    study, points = rebuild(digits, digits), points_of(digits)
    assert len(points) >= 2
    for point in points:
        record = Record.of(point)
        finding = check(record, study, Wishes())
        assert (finding.now, finding.size, finding.problems) == (record.evaluation, record.size, [])
        assert record.evaluation.correct == record.accuracy * record.evaluation.images


@pytest.mark.slow
def test_networks_with_a_noisy_channel_inside_are_counted_again_in_any_batches(divided):
    study, points = rebuild(divided, divided), points_of(divided)
    for wishes in (Wishes(), Wishes(batch_size=7)):
        found = [check(Record.of(point), study, wishes) for point in points]
        assert [finding.problems for finding in found] == [[]] * len(points)
    assert found[0].now.accuracy > 0.15


def test_the_threads_of_this_process_are_left_as_they_were(digits, rewrite):
    rewrite(digits, 1, threads=3)
    before = torch.get_num_threads()
    finding = check(Record.of(points_of(digits)[0]), rebuild(digits, digits), Wishes())
    assert finding.now.threads == 3
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_wishes_change_the_conditions_and_it_is_said(digits, verified):
    _, lines = verified(digits, threads=2, batch_size=7, device="cpu")
    assert lines[4].endswith("batch_size 7 for 100, threads 2 for 1")


def test_a_recorded_device_that_is_not_here_gives_way_to_the_cpu(digits, rewrite, verified):
    rewrite(digits, 1, device="xpu")
    held, lines = verified(digits)
    assert held
    assert lines[1:3] == [
        f"recorded under device {name}, dtype float32, batch_size 100, memory_format contiguous, threads 1"
        for name in ("xpu", "cpu")
    ]
    assert lines[5].endswith("ok    device cpu for xpu")


def test_the_recorded_memory_format_is_fed(own, rewrite):
    rewrite(own, 1, memory_format="contiguous")
    finding = check(Record.of(points_of(own)[0]), rebuild(own, own), Wishes())
    assert finding.now.memory_format == "contiguous"


@pytest.mark.parametrize(
    ("apart", "device", "holds"),
    [(0, "cpu", True), (1, "cpu", False), (-1, "cpu", False)]
    + [(0, "xpu", True), (1, "xpu", True), (-1, "xpu", True), (2, "xpu", False), (-2, "xpu", False)],
)
def test_equal_under_equal_conditions_else_a_thousandth(own, rewrite, verified, apart, device, holds):
    """Of 1,200 images: one. The other device is one in name only, so that the count itself is known."""
    right = Record.of(points_of(own)[0]).evaluation.correct
    rewrite(own, 1, correct=right + apart, accuracy=(right + apart) / 1200, device=device)
    held, lines = verified(own)
    assert held is holds
    if not holds:
        rule = "equal under equal conditions" if device == "cpu" else "at most 1 apart under another device"
        assert f"     {right:,} right answers, {right + apart:,} recorded: must be {rule}" in lines
        assert lines[-1] == f"NOT verified: 1 of 1 network: 1 ({points_of(own)[0].name})"


def test_an_accuracy_that_its_count_denies_fails(digits, rewrite, verified):
    rewrite(digits, 2, accuracy=0.99)
    held, lines = verified(digits)
    assert not held
    assert any(line.startswith("     accuracy 0.99 in front.json is not its ") for line in lines)
    assert lines[-1].startswith("NOT verified: 1 of ")


def test_a_length_that_is_not_the_recorded_one_fails(digits, rewrite, verified):
    rewrite(digits, 1, size_bytes=7)
    held, lines = verified(digits)
    assert not held
    size = points_of(digits)[0].file.stat().st_size
    assert f"     {size:,} bytes, front.json says 7" in lines
    assert " FAIL  the same" in lines[4]


def spoilt(data):
    """A file whose checksum is right and whose sections are not: the last tensor's bytes are missing."""
    body = data[:-40]
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("damage", "section"),
    [
        (lambda data: data[:100] + b"\x07" + data[101:], "checksum: "),
        (lambda data: data[:-50], "checksum: "),
        (lambda data: b"", "magic: "),
        (spoilt, "section 'fc"),
    ],
    ids=["a byte", "cut off", "empty", "a section"],
)
def test_a_corrupt_file_fails_with_its_section_and_the_others_are_checked(digits, verified, damage, section):
    file = points_of(digits)[1].file
    file.write_bytes(damage(file.read_bytes()))
    held, lines = verified(digits)
    assert not held
    assert any(line.startswith(f"     {section}") for line in lines)
    assert lines[4].endswith("ok    the same")
    assert lines[-1] == f"NOT verified: 1 of {len(points_of(digits))} networks: 2 ({file.stem})"


def test_a_file_that_is_gone_fails(digits, verified):
    points_of(digits)[0].file.unlink()
    held, lines = verified(digits)
    assert not held
    assert any(line.endswith("cannot be read (No such file or directory)") for line in lines)


def test_another_network_of_the_same_length_fails(own, verified):
    """The file decodes and fits; only its answers are others."""
    file = points_of(own)[0].file
    artifact = decode(file.read_bytes())
    tensors = list(artifact.tensors)
    tensors[0].index[:] = tensors[0].index[::-1].copy()
    file.write_bytes(encode(artifact.card, tensors))
    held, lines = verified(own)
    assert not held
    assert any(" right answers, " in line and line.endswith("must be equal under equal conditions") for line in lines)


def test_a_network_that_does_not_run_fails(own, verified, studies, monkeypatch):
    import own_lines

    class Broken(torch.nn.Sequential):
        def forward(self, x):
            raise RuntimeError("no such operator\nat all")

    built = own_lines.network
    monkeypatch.setattr(own_lines, "network", lambda input_shape, classes: Broken(*built(input_shape, classes)))
    held, lines = verified(own)
    assert not held
    assert "     the network does not run (no such operator)" in lines


def test_other_data_are_bad_input_and_name_the_point(digits, own):
    shifted = points_of(own)[0].file.read_bytes()
    points_of(digits)[0].file.write_bytes(shifted)
    with pytest.raises(BadStudy, match=r"^t\d-e00\d: data here are 'digits-.*', the file's 'lines-holdout-1200-\w+'; "):
        check(Record.of(points_of(digits)[0]), rebuild(digits, digits), Wishes())


def test_a_record_of_other_images_is_bad_input(digits, rewrite):
    rewrite(digits, 1, images=1000)
    with pytest.raises(BadStudy, match=r"^t\d-e00\d: counted on 1,000 validation images, 300 are here$"):
        check(Record.of(points_of(digits)[0]), rebuild(digits, digits), Wishes())


@pytest.mark.parametrize("key", ["evaluation", "accuracy", "size_bytes"])
def test_a_front_without_its_record_is_bad_input(digits, key, verified):
    rows = json.loads((digits / "front.json").read_text())
    del rows[1][key]
    (digits / "front.json").write_text(json.dumps(rows))
    with pytest.raises(BadStudy, match=rf"front\.json: member 2: {key} = None: must "):
        verified(digits)


def test_a_device_that_is_not_here_is_bad_input():
    with pytest.raises(BadStudy, match=r"^device = 'tpu': not on this machine, which has cpu"):
        Wishes(device="tpu")
