"""Files changed at random, by the tens of thousands: each is refused in one line or decodes to what its header says."""

import json
import resource
import struct
import time
import zlib

import numpy as np
import pytest

from compress import header as headers
from compress.artifact import VERSION, ArtifactError, decode, encode
from compress.codecs import CODECS
from compress.symbols import DECODERS, Symbols, raw

FILES = 4_000  # of each of four networks, and as many again under their old checksums
ELEMENTS = 2**16  # what the reader allows; a header may declare as many as are allowed
SECONDS, MEGABYTES = 5.0, 200
PREFIX = struct.Struct("<4sBI")
NUMBERS = [
    0,
    1,
    2,
    3,
    7,
    64,
    255,
    2**16,
    10**6,
    2**20,
    2**20 + 1,
    2**28,
    2**31,
    2**63,
    2**64,
    10**30,
    10**4299,
    -1,
    2.0,
]
ODD = [None, True, "", "a\nb", [], {}, [[]], 0.5, -0.0, 1e308, "step", {"step": 1}, "\ud800", "w" * 300]


def _inflate(packed):
    """JSON of a header, as the format describes it."""
    return json.loads(zlib.decompressobj(-15, zdict=headers._COMMON).decompress(packed))


def _deflate(header):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=headers._COMMON)
    return packer.compress(json.dumps(header).encode()) + packer.flush()


def _parts(data):
    """(JSON header, its sections in one)."""
    end = PREFIX.size + PREFIX.unpack_from(data)[2]
    return _inflate(data[PREFIX.size : end]), data[end:-4]


def _joined(header, sections):
    """A file with a checksum that fits."""
    packed = _deflate(header)
    return _sealed(PREFIX.pack(b"RFNT", VERSION, len(packed)) + packed + sections)


def _sealed(body):
    return body + struct.pack("<I", zlib.crc32(body))


def _map(draw, shape, levels, zeros):
    return draw.integers(-levels, levels + 1, shape) * (draw.random(shape) >= zeros)


def _floats(draw, count=1):
    return draw.uniform(0.1, 1, count).astype(np.float32)


def _networks():
    """Four small files that have every decoder and, between them, every codec; of the last, channels have left."""
    made = []
    for number in range(4):
        d = np.random.default_rng(number)
        step, shift = _floats(d), _floats(d, 8)
        tensors = [
            Symbols("conv.weight", _map(d, (8, 4, 3, 3), 7, 0.6), "deadzone", {"step": step, "shift": shift}, 4.0),
            Symbols("fc.weight", _map(d, (10, 64), 3, 0.8), "uniform", {"step": _floats(d, 10)}, 3.0),
            Symbols("fc.bias", d.standard_normal(10).astype(np.float16)),
            raw("bn.weight", d.standard_normal(8).astype(np.float32)),
            raw("bn.bias", np.zeros(8, np.float32)),
            Symbols("wide", _map(d, (5,), 2**31 - 1, 0.1), "uniform", {"step": step}, 32.0),
        ]
        if number == 3:
            rows, columns = np.arange(8) % 3 > 0, np.arange(4) != 2
            tensors = [tensors[0].cut(rows, columns), *(t.cut(rows, None) for t in tensors[3:5]), *tensors[1:3]]
        made.append(encode({"network": {"name": "small"}, "classes": ["a", "b"]}, tensors[number % 3 :]))
    return [*made[:2], _with_lzma(made[2]), made[3]]


def _with_lzma(data):
    """The same file with one tensor more, kept by the codec of machines without constriction."""
    header, sections = _parts(data)
    section = np.ones(1, "<f4").tobytes() + CODECS["lzma"].encode(np.arange(12) % 5 - 2)
    table = header["tensors"]
    table["kind"].append(len(table["kinds"]))
    more = {"kinds": ["lzma", "uniform", 3.0, {"step": 1}], "names": "last", "shapes": [3, 4], "lengths": len(section)}
    for column, value in more.items():
        table[column].append(value)
    return _joined(header, sections + section)


def _flip(data, draw):
    for _ in range(draw.integers(1, 4)):
        data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))


def _change(data, draw):
    for _ in range(draw.integers(1, 6)):
        data[draw.integers(len(data))] = int(draw.choice([0, 1, 0x7F, 0x80, 0xFF, draw.integers(256)]))


def _cut(data, draw):
    start = int(draw.integers(len(data)))
    del data[start : start + int(draw.choice([1, 2, 4, 8, 100, 10**6]))]


def _insert(data, draw):
    at = int(draw.integers(len(data) + 1))
    data[at:at] = draw.bytes(int(draw.choice([1, 4, 8, 64])))


def _double(data, draw):
    start, length = int(draw.integers(len(data))), int(draw.choice([1, 4, 16, 200]))
    data[start:start] = data[start : start + length]


def _swap(data, draw):
    a, b, c = sorted(int(n) for n in draw.integers(len(data) + 1, size=3))
    data[a:c] = data[b:c] + data[a:b]


BYTES = [_flip, _change, _cut, _insert, _double, _swap]


def _pick(draw, values):
    return values[int(draw.integers(len(values)))]


def _places(node, path=()):
    """Every place in JSON data below ``node``."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _places(value, (*path, key))


def _edit(header, draw):
    """Another value somewhere in the table, or a row more or fewer, or two exchanged."""
    table = header["tensors"]
    *path, last = _pick(draw, [place for place in _places(table) if place])
    node = table
    for key in path:
        node = node[key]
    what = int(draw.integers(5))
    if what == 0 and isinstance(node, list):
        node[last:last] = [_pick(draw, node)]
    elif what == 1:
        del node[last]
    elif what == 2 and isinstance(node, list):
        other = int(draw.integers(len(node)))
        node[last], node[other] = node[other], node[last]
    else:
        names = [*CODECS] if draw.random() < 0.5 else [*DECODERS]
        chosen = _pick(draw, [NUMBERS, NUMBERS, ODD, names])
        node[last] = _pick(draw, chosen)


def _shaped(header, draw):
    """Another shape for one tensor, of few or of very many elements."""
    shapes = header["tensors"]["shapes"]
    shapes[int(draw.integers(len(shapes)))] = [_pick(draw, NUMBERS[:11]) for _ in range(draw.integers(0, 5))]


def _mutant(data, draw):
    """A file whose body is damaged, or whose header or sections are, under a header that can be read."""
    header, sections = _parts(data)
    what = draw.random()
    if what < 0.25:
        body = bytearray(data[:-4])
        _pick(draw, BYTES)(body, draw)
        return bytes(body)
    sections = bytearray(sections)
    if what > 0.6:
        for change in [[_edit], [_shaped], [_edit, _edit], [_shaped, _edit]][int(draw.integers(4))]:
            change(header, draw)
    if what < 0.65 and sections:
        _pick(draw, BYTES)(sections, draw)
    return _joined(header, bytes(sections))[:-4]


def _outcome(data, elements=ELEMENTS):
    """'refused' or 'decoded'; AssertionError for anything else, too long a time included."""
    begun, message, tensors = time.perf_counter(), None, []
    try:
        tensors = decode(data, elements).tensors
    except ArtifactError as error:
        message = str(error)
    assert time.perf_counter() - begun < SECONDS
    if message is not None:
        assert len(message.splitlines()) == 1, message
        return "refused"
    end = PREFIX.size + PREFIX.unpack_from(data)[2]
    shapes = _inflate(data[PREFIX.size : end])["tensors"]["shapes"]
    assert [list(tensor.dense().shape) for tensor in tensors] == shapes
    assert all(tensor.index.shape == tensor.weights().shape for tensor in tensors)
    return "decoded"


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB, under Linux


def test_the_files_that_are_changed_are_sound():
    seen = set()
    for data in _networks():
        assert _outcome(data) == "decoded"
        assert _outcome(_joined(*_parts(data))) == "decoded"
        seen |= {kind[0] for kind in _parts(data)[0]["tensors"]["kinds"]}
    assert {"context", "lzma", "float16", "float32", "zeros"} <= seen


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_a_changed_file_under_a_checksum_that_fits_is_refused_or_decodes(number):
    data, draw = _networks()[number], np.random.default_rng(number)
    _outcome(data)
    before, seen = _peak(), {"refused": 0, "decoded": 0}
    for _ in range(FILES):
        seen[_outcome(_sealed(_mutant(data, draw)))] += 1
    assert _peak() - before < MEGABYTES
    assert min(seen.values()) > FILES / 100  # the decoders were reached


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_a_changed_file_is_refused(number):
    data, draw = _networks()[number], np.random.default_rng(number + 10)
    refused = 0
    for _ in range(FILES):
        body = bytearray(data)
        for _ in range(draw.integers(1, 3)):
            _pick(draw, BYTES)(body, draw)
        if bytes(body) != data:
            assert _outcome(bytes(body)) == "refused"
            refused += 1
    assert refused > 0.9 * FILES


@pytest.mark.parametrize(
    "shape", [[1, 1, 2**20], [1, 2**20], [2**20], [1, 1, 1024, 1024], [2, 512, 1024], [2**10, 2**10]]
)
def test_a_huge_shape_over_few_bytes_takes_no_time(shape):
    """A header may declare as many elements as a reader allows, however short the section."""
    header, section = _parts(encode({}, [Symbols("w", np.array([[0, 0, 1, 0]]), "uniform", {"step": np.ones(1)}, 2.0)]))
    header["tensors"]["shapes"] = [shape]
    before = _peak()
    assert _outcome(_joined(header, section), 2**20) in ("refused", "decoded")
    assert _peak() - before < MEGABYTES


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": [["context", "uniform", "4\n5", {"step": 1}]]},
        {"kind": ["0\n1"]},
        {"shapes": [[10**4200, 10**4200]]},
        {"kinds": [["float32", "raw", 2.0, {"a": 9 * 10**4299, "b": 9 * 10**4299}]], "lengths": []},
        {"lengths": [10**4299]},
        {"names": ["a\nb"]},
        {"kinds": [["con\ntext", "uniform", 2.0, {"step": 1}]]},
        {"shapes": [[0, 10**30]]},
    ],
    ids=range(8),
)
def test_what_a_header_says_is_quoted_in_one_line(change):
    header, section = _parts(encode({}, [Symbols("w", np.array([[0, 0, 1, 0]]), "uniform", {"step": np.ones(1)}, 2.0)]))
    header["tensors"] |= change
    assert _outcome(_joined(header, section)) in ("refused", "decoded")
