import numpy as np
import pytest
import torch

from compress.__main__ import main
from compress.artifact import encode, save
from compress.methods.uniform import Uniform
from compress.shipping import ship
from compress.symbols import Symbols, raw

CARD = {
    "network": {"name": "mlp", "kwargs": {"hidden": [4]}},
    "method": "uniform",
    "data": "tiny",
    "split": "half",
    "input_shape": [1, 4, 4],
    "original_weights": 239,
}


@pytest.fixture
def shipped(build, no_batches):
    model, method = build(), Uniform(bitwidth=3)
    method.prepare(model, no_batches)
    return ship(method, model, build, CARD)


@pytest.fixture
def file(shipped, tmp_path):
    save(tmp_path / "network.rf", shipped.data)
    return str(tmp_path / "network.rf")


def _saved(tmp_path, card, tensors):
    path = tmp_path / "other.rf"
    save(path, encode(card, tensors))
    return str(path)


def _one_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\n")
    assert len(captured.err.splitlines()) == 1
    return captured.err


def test_info_prints_the_card_and_every_tensor(file, shipped, capsys):
    assert main(["info", file]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[0] == "network   mlp {'hidden': [4]}"
    assert lines[1].split() == ["method", "uniform"]
    assert "tiny, split half, input [1, 4, 4]" in lines[2]
    size = len(shipped.data)
    assert f"{size:,} bytes, {8 * size / 239:.3f} bits a weight, {4 * 239 / size:.1f}x smaller" in lines[3]
    assert [line.split()[0] for line in lines[6:]] == [t.name for t in shipped.artifact.tensors]


def test_info_counts_zeros_and_levels(tmp_path, capsys):
    index = np.array([[0, 1, 0], [-1, 0, 3]], np.int32)
    tensors = [Symbols("w", index, "uniform", {"step": np.ones(1, np.float32)}, 3), raw("b", np.ones(2))]
    assert main(["info", _saved(tmp_path, {}, tensors)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows[0][:3] + rows[0][3:7] == ["w", "2x3", rows[0][2], "uniform", "3", "50.0%", "4"]
    assert rows[1] == ["b", "2", "0", "raw", "32", "0.0%", "-", "ones"]


def test_info_shows_a_scalar_as_one(tmp_path, capsys):
    assert main(["info", _saved(tmp_path, {}, [raw("gain", np.array(2.0))])]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["gain", "scalar"]


def test_decode_writes_a_state_dict_that_loads_strictly(file, shipped, build, tmp_path, capsys):
    out = tmp_path / "new" / "folder" / "state.pt"
    assert main(["decode", file, str(out)]) == 0
    captured = capsys.readouterr()
    state = torch.load(out, weights_only=True)
    assert captured.out == f"{out}: {len(state)} tensors, {sum(t.numel() for t in state.values()):,} numbers\n"
    assert captured.err == ""
    network = build(seed=8).eval()
    network.load_state_dict(state, strict=True)
    inputs = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(inputs), shipped.network(inputs))


@pytest.mark.parametrize(
    "content", [None, b"", b"no artifact at all", b"RFNT\2\0\0\0\0\0\0\0\0", b"RFNT\1\0\0\0\0\0\0\0\0"]
)
@pytest.mark.parametrize("command", ["info", "decode"])
def test_a_file_that_is_none_gives_one_line_and_2(command, content, tmp_path, capsys):
    path, out = tmp_path / "bad.rf", tmp_path / "state.pt"
    if content is not None:
        path.write_bytes(content)
    assert main([command, str(path), *([str(out)] if command == "decode" else [])]) == 2
    assert _one_line(capsys).startswith(f"{path}: ")
    assert not out.exists()


@pytest.mark.parametrize("command", ["info", "decode"])
def test_a_damaged_file_gives_one_line_and_2(command, file, shipped, tmp_path, capsys):
    damaged = bytearray(shipped.data)
    damaged[len(damaged) // 2] ^= 1
    save(file, bytes(damaged))
    assert main([command, file, *([str(tmp_path / "state.pt")] if command == "decode" else [])]) == 2
    assert "checksum" in _one_line(capsys)


@pytest.mark.parametrize("place", ["folder", "file/state.pt"])
def test_an_output_that_cannot_be_written_gives_one_line_and_2(place, file, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("taken")
    out = tmp_path / place
    assert main(["decode", file, str(out)]) == 2
    assert _one_line(capsys).startswith(f"{out}: cannot be written (")


@pytest.mark.parametrize("arguments", [[], ["info"], ["decode", "one"], ["pack", "x"], ["info", "x", "--fast"]])
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_exits_with_0(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "decode" in capsys.readouterr().out


def test_info_of_a_file_without_tensors(tmp_path, capsys):
    assert main(["info", _saved(tmp_path, {}, [])]) == 0
    assert "bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "card", [{"network": "mlp"}, {"network": None}, {"original_weights": "many"}, {"original_weights": -1}]
)
def test_info_reads_cards_of_other_writers(card, tmp_path, capsys):
    assert main(["info", _saved(tmp_path, card, [raw("b", np.ones(2))])]) in (0, 2)
    assert len(capsys.readouterr().err.splitlines()) <= 1
