"""Files written once, decoded for ever. `python -m tests.compress.test_golden` writes those that are missing, and never another."""

import hashlib
import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from compress import artifact, contexts, header, ranged
from compress.artifact import decode, encode
from compress.symbols import Symbols, raw

FOLDER = Path(__file__).parents[1] / "golden"
EXPECTED = FOLDER / "expected.json"


def _integers(shape, peak, zeros, seed):
    """Drawn in plain arithmetic, so that no library's generator matters."""
    count, state, drawn = int(np.prod(shape)), seed, []
    for _ in range(2 * count):
        state = (1103515245 * state + 12345) % (1 << 31)
        drawn.append(state / (1 << 31))
    values = np.rint((2 * np.array(drawn[::2]) - 1) ** 3 * peak).astype(np.int32)
    values[np.array(drawn[1::2]) < zeros] = 0
    return values.reshape(shape)


def _smooth(shape, pixels):
    """Columns that are square maps in which neighbours are alike."""
    side = round(pixels**0.5)
    maps = _integers((shape[0], shape[1] // pixels, 1, 1), 9, 0.4, 9) * (np.arange(side) < np.arange(side)[:, None] + 2)
    return maps.astype(np.int32).reshape(shape)


def _step(count, seed=1):
    return (1 + np.arange(count, dtype=np.float32) * seed) / np.float32(64)


def _files():
    conv = Symbols(
        "conv.weight", _integers((12, 6, 3, 3), 7, 0.6, 1), "deadzone", {"step": _step(1), "shift": _step(1)}, 4
    )
    channels = Symbols("fc.weight", _integers((20, 60), 127, 0.2, 2), "uniform", {"step": _step(20)}, 8)
    pixels = Symbols("fc1.weight", _integers((40, 64), 3, 0.8, 3), "uniform", {"step": _step(1)}, 3)
    frequencies = Symbols("conv1.weight", _integers((20, 1, 5, 5), 9, 0.5, 4), "dct", {"step": _step(25)})
    vectors = [raw("bn.running_mean", np.zeros(12)), raw("bn.running_var", np.ones(12)), raw("bn.bias", _step(12))]
    halves = [Symbols("fc.bias", _step(20).astype(np.float16))]
    large = Symbols("wide.weight", _integers((7, 11), 2**31 - 1, 0.1, 5), "uniform", {"step": _step(1)}, 32)
    card = {"network": {"name": "resnet20", "kwargs": {}}, "input_shape": [3, 32, 32], "classes": ["a", "b"]}
    yield "convolution", encode(card, [conv, *vectors])
    yield "linear", encode({}, [channels, pixels, *halves])
    yield "frequencies", encode({}, [frequencies, large])
    packed = Symbols("dft.weight", _integers((30, 40, 2, 4), 5, 0.7, 6), "dft", {"step": _step(8)})  # three bands
    taps = Symbols(
        "taps.weight", _integers((8, 9, 5), 3, 0.5, 7), "identity", {"step": _step(5)}
    )  # neighbours in a line
    colours = Symbols("fc1.weight", _smooth((20, 192), 64), "uniform", {"step": _step(1)}, 3)
    features = Symbols("fc2.weight", _smooth((30, 50 * 16), 16), "uniform", {"step": _step(1)}, 3)
    yield "scans", encode({}, [packed, taps, colours, features])
    thinned = _integers((60, 12, 3, 3), 3, 0.6, 10) * (np.arange(60) % 7 == 0)[:, None, None, None]
    yield "thinned", encode({}, [Symbols("conv.weight", thinned.astype(np.int32), "uniform", {"step": _step(1)}, 3)])
    rows, columns = np.arange(12) % 3 > 0, np.arange(6) != 4
    cut = [conv.cut(rows, columns), channels.cut(np.arange(20) > 6, None), vectors[2].cut(rows, None)]
    yield "cut", encode(card, [*cut, *(v.cut(~rows & rows, None) for v in vectors[:1])])
    with mock.patch.object(artifact, "codec_for", return_value="lzma"):
        yield "lzma", encode({}, [conv, channels])


def _sums(data):
    tensors = decode(data).tensors
    return {t.name: hashlib.sha256(t.dense().astype("<f4").tobytes()).hexdigest() for t in tensors}


def _sections(data):
    return data[9 + int.from_bytes(data[5:9], "little") : -4]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.rf")), ids=lambda path: path.stem)
def test_a_golden_file_decodes_to_what_it_held(path, plain, monkeypatch):
    if plain:
        monkeypatch.setattr(contexts, "decoder_of", lambda words, plain: ranged.PlainDecoder(words))
    assert _sums(path.read_bytes()) == json.loads(EXPECTED.read_text())[path.stem]


def test_the_headers_dictionary_is_the_one_on_the_page():
    page = (FOLDER.parents[1] / "docs/format.md").read_text()
    assert hashlib.sha256(header._COMMON).hexdigest() in page
    assert f"{len(header._COMMON):,} bytes" in page


def test_every_expectation_has_its_file():
    assert {path.stem for path in FOLDER.glob("*.rf")} == set(json.loads(EXPECTED.read_text()))


@pytest.mark.skipif(not ranged.has_constriction(), reason="no wheel for this platform")
@pytest.mark.parametrize("name", ["convolution", "linear", "frequencies", "scans", "thinned", "cut", "lzma"])
def test_the_golden_files_are_what_is_written(name):
    """Whoever changes a byte on purpose adds a file and keeps the old one, as those named early. (Headers depend on the version of zlib.)"""
    assert _sections(dict(_files())[name]) == _sections((FOLDER / f"{name}.rf").read_bytes())


if __name__ == "__main__":
    known = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    for stem, data in _files():
        if stem not in known:
            (FOLDER / f"{stem}.rf").write_bytes(data)
            known[stem] = _sums(data)
    EXPECTED.write_text(json.dumps(known, indent=1) + "\n")
