import json
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import header
from compress.artifact import Artifact, ArtifactError, decode, decompress, encode, load, load_into, read, save
from compress.codecs import CODECS
from compress.header import _COMMON as COMMON
from compress.symbols import Symbols, raw

quick = settings(max_examples=40, deadline=None)
STEP = np.array([0.5], np.float32)


def _deflate(text):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=COMMON)
    return packer.compress(text) + packer.flush()


def _deflate_json(plain):
    return _deflate(json.dumps(plain).encode())


def _pack(header, sections=b"", magic=b"RFNT", version=2):
    """A file by the format's description, with a checksum that fits whatever it holds."""
    text = header if isinstance(header, bytes) else _deflate(json.dumps(header).encode())
    return _seal(magic + bytes([version]) + struct.pack("<I", len(text)) + text + sections)


def _seal(body):
    return body + struct.pack("<I", zlib.crc32(body))


def _small():
    index = np.array([[0, 1, -2], [3, 0, 0]], np.int32)
    return encode(
        {"method": "uniform"}, [Symbols("w", index, "uniform", {"step": STEP}, 4), raw("b", np.array([1, 2]))]
    )


def _table(**changes):
    """Table and section of one uniform tensor of three weights, with some columns exchanged."""
    section = STEP.tobytes() + CODECS["lzma"].encode(np.array([1, 0, -1]))
    row = {"name": "w", "shape": [3], "codec": "lzma", "decoder": "uniform", "bits": 4, "floats": {"step": 1}}
    row |= {"length": len(section), **changes}
    kind = [row.pop(column) for column in ("codec", "decoder", "bits", "floats")]
    name, shape, length = (row.pop(column) for column in ("name", "shape", "length"))
    table = {"kinds": [kind], "names": [name], "shapes": [shape], "kind": [0], "lengths": [length]}
    return {**table, **row}, section


def _file(**changes):
    table, section = _table(**changes)
    return _pack({"tensors": table}, section)


EMPTY = {"kinds": [], "names": [], "shapes": [], "kind": [], "lengths": []}


def _refused(data, **limits):
    """The message of the ArtifactError that ``data`` must raise."""
    with pytest.raises(ArtifactError) as caught:
        decode(data, **limits)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def _decoded_or_refused(data):
    """Nothing but an ArtifactError of one line, or tensors of their declared shapes."""
    try:
        tensors = decode(data).tensors
    except ArtifactError:
        _refused(data)
    else:
        assert all(tensor.weights().shape == tensor.index.shape for tensor in tensors)


shapes = st.lists(st.integers(0, 3), max_size=5).map(tuple)


@st.composite
def symbols(draw, name):
    shape, decoder = draw(shapes), draw(st.sampled_from(["raw", "uniform", "deadzone"]))
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    if decoder == "raw":
        return Symbols(name, generator.standard_normal(shape).astype(np.float32))
    peak = draw(st.sampled_from([0, 1, 127, 32767, 2**31 - 1]))
    count = shape[0] if shape and shape[0] and draw(st.booleans()) else 1
    names = {"uniform": ("step",), "deadzone": ("step", "shift")}[decoder]
    floats = {key: generator.uniform(0.1, 1, count).astype(np.float32) for key in names}
    index = generator.integers(-peak, peak, shape, endpoint=True).astype(np.int32)
    return Symbols(name, index, decoder, floats, draw(st.sampled_from([0.0, 2.0, 7.5, 32.0])))


names = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=4)
networks = names.flatmap(lambda chosen: st.tuples(*(symbols(name) for name in chosen)))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
cards = st.dictionaries(st.text(max_size=5).filter(lambda key: key != "tensors"), plain, max_size=4)


@quick
@given(cards, networks)
def test_any_mix_of_tensors_comes_back(card, tensors):
    data = encode(card, tensors)
    artifact = decode(data)
    assert (artifact.card, artifact.size) == (card, len(data))
    assert [t.name for t in artifact.tensors] == [t.name for t in tensors]
    for after, before in zip(artifact.tensors, tensors, strict=True):
        assert (after.decoder, after.bits, after.index.shape) == (before.decoder, before.bits, before.index.shape)
        assert np.array_equal(after.index, before.index)
        assert {k: v.tolist() for k, v in after.floats.items()} == {k: v.tolist() for k, v in before.floats.items()}
        assert after.weights().tobytes() == before.weights().tobytes()


def test_the_layout_is_the_one_described():
    data = _small()
    magic, version, length = struct.unpack("<4sBI", data[:9])
    header = json.loads(zlib.decompressobj(-15, zdict=COMMON).decompress(data[9 : 9 + length]))
    table = header["tensors"]
    assert (magic, version) == (b"RFNT", 2)
    assert header["method"] == "uniform"
    assert (table["names"], table["shapes"], table["kind"]) == (["w", "b"], [[2, 3], [2]], [0, 1])
    assert (table["kinds"][0], table["lengths"]) == (["int8", "uniform", 4, {"step": 1}], [])
    assert 9 + length + (4 + 6) + 8 + 4 == len(data)
    assert struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-4])
    assert data[-12:-4] == np.array([1, 2], "<f4").tobytes()


def test_encoding_the_same_twice_gives_the_same_bytes():
    assert _small() == _small()


def test_state_dict_holds_hard_weights_by_name():
    state = decode(_small()).state_dict()
    assert state["w"].tolist() == [[0.0, 0.5, -1.0], [1.5, 0.0, 0.0]]
    assert {name: tensor.dtype for name, tensor in state.items()} == {"w": torch.float32, "b": torch.float32}


def test_every_flipped_bit_is_noticed():
    data = _small()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        _refused(bytes(damaged))


def test_every_cut_and_every_byte_more_is_noticed():
    data = _small()
    for length in range(len(data)):
        _refused(data[:length])
    _refused(data + b"\0")


def test_every_cut_under_a_fresh_checksum_is_noticed():
    body = _small()[:-4]
    for length in range(len(body)):
        _refused(_seal(body[:length]))


def test_a_flipped_bit_under_a_fresh_checksum_never_raises_anything_else():
    body = _small()[:-4]
    for bit in range(8 * len(body)):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        _decoded_or_refused(_seal(bytes(damaged)))


@quick
@given(st.binary(max_size=80))
def test_foreign_bytes_are_refused(data):
    _refused(data)
    _refused(_seal(b"RFNT\2" + data))


@pytest.mark.parametrize("magic", [b"RFNU", b"PK\3\4", b"\0\0\0\0"])
def test_another_magic_is_named(magic):
    assert _refused(_pack({"tensors": EMPTY}, magic=magic)).startswith("magic: not an artifact")


@pytest.mark.parametrize("version", [0, 1, 255])
def test_another_version_is_named(version):
    assert _refused(_pack({"tensors": EMPTY}, version=version)) == f"version: {version}, this program reads 2"


def test_the_files_these_tests_build_are_sound():
    assert decode(_pack({"tensors": EMPTY})).tensors == []
    assert decode(_file()).tensors[0].weights().tolist() == [0.5, 0.0, -0.5]


HEADERS = {
    "nothing": b"",
    "no zlib": b"no zlib",
    "empty text": _deflate(b""),
    "half a text": _deflate(b"{"),
    "no UTF-8": _deflate(b"\xff\xfe{}"),
    "deep": _deflate(b"[" * 100_000),
    "long number": _deflate(b'{"tensors": 1' + b"0" * 5000 + b"}"),
    "deflate cut": _deflate(b'{"tensors": {}}')[:-1],
    "deflate and more": _deflate(b'{"tensors": {}}') + b"tail",
    "no table": {},
    "list": [],
    "text": "tensors",
    "number": 7,
    "null": None,
    "table null": {"tensors": None},
    "table list": {"tensors": []},
    "table text": {"tensors": "abcdefgh"},
    "column missing": {"tensors": {key: [] for key in list(EMPTY)[:4]}},
    "column more": {"tensors": {**EMPTY, "sixth": []}},
    "column null": {"tensors": {**EMPTY, "names": None}},
    "names alone": {"tensors": {**EMPTY, "names": ["w"]}},
    "lengths alone": {"tensors": {**EMPTY, "lengths": [3]}},
    "kind text": {"tensors": {**EMPTY, "kinds": ["abcd"]}},
    "kind short": {"tensors": {**EMPTY, "kinds": [["lzma"]]}},
    "kind object": {"tensors": {**EMPTY, "kinds": [{}]}},
}


@pytest.mark.parametrize("header", list(HEADERS.values()), ids=list(HEADERS))
def test_malformed_headers_are_refused(header):
    assert _refused(_pack(header)).startswith("header: ")


def test_a_header_longer_than_the_file_is_refused():
    body = b"RFNT\2" + struct.pack("<I", 2**32 - 1) + _deflate(b'{"tensors": {}}')
    assert _refused(_seal(body)).startswith("header: 4294967295 bytes declared")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"name": 3},
        {"name": ["w"]},
        {"shape": None},
        {"shape": 3},
        {"shape": "3"},
        {"shape": [-3]},
        {"shape": [3.0]},
        {"shape": [True, 3]},
        {"shape": [[3]]},
        {"shape": [4]},
        {"shape": [2]},
        {"shape": [1] * 100 + [3]},
        {"shape": [0, 10**30]},
        {"codec": "zip"},
        {"codec": None},
        {"codec": []},
        {"codec": "float32"},
        {"decoder": "zip"},
        {"decoder": None},
        {"decoder": {}},
        {"decoder": "raw"},
        {"decoder": "deadzone"},
        {"bits": None},
        {"bits": "many"},
        {"bits": [4]},
        {"bits": 10**400},
        {"floats": None},
        {"floats": []},
        {"floats": {}},
        {"floats": {"pace": 1}},
        {"floats": {"step": 0}},
        {"floats": {"step": 2}},
        {"floats": {"step": -1}},
        {"floats": {"step": 1.0}},
        {"floats": {"step": "1"}},
        {"floats": {"step": 10**30}},
        {"floats": {"step": 1, "shift": 1}},
        {"length": None},
        {"length": -1},
        {"length": 1.5},
        {"length": 0},
        {"length": 2},
        {"length": 10**30},
        {"sixth": [1]},
        {"kind": [1]},
        {"kind": [-1]},
        {"kind": [True]},
        {"kind": ["0"]},
    ],
    ids=lambda changes: str(changes)[1:40],
)
def test_malformed_tables_are_refused(changes):
    assert _refused(_file(**changes)).startswith(("section ", "sections: ", "header: "))


@pytest.mark.parametrize("column", ["codec", "decoder"])
def test_an_unknown_codec_or_decoder_is_named(column):
    message = _refused(_file(**{column: "zip"}))
    assert message.startswith("header: unknown")
    assert "'zip'" in message


@quick
@given(column=st.sampled_from([*EMPTY, "name", "shape", "codec", "decoder", "bits", "floats", "length"]), value=plain)
def test_any_value_in_any_column_decodes_or_is_refused(column, value):
    _decoded_or_refused(_file(**{column: value}))


@quick
@given(plain)
def test_any_json_for_a_header_is_refused(header):
    _refused(_pack(header))


@pytest.mark.parametrize(("shape", "codec"), [([], "float32"), ([2], "float32"), ([1], "lzma")])
def test_a_section_of_two_bytes_is_refused(shape, codec):
    table, _ = _table(shape=shape, codec=codec)
    table["lengths"] = [2] if codec == "lzma" else []
    assert _refused(_pack({"tensors": table}, b"ab")).startswith("section 'w': ")


def test_floats_cut_short_are_refused():
    table, section = _table(shape=[0], floats={"step": 2}, length=4)
    assert _refused(_pack({"tensors": table}, section[:4])).startswith("section 'w': ")


@pytest.mark.parametrize(("shape", "count"), [([1, 3], 5), ([1], 3), ([1, 1], 2), ([3], 2)])
def test_floats_never_change_the_shape_of_a_tensor(shape, count):
    size = int(np.prod(shape))
    section = np.ones(count, "<f4").tobytes() + CODECS["lzma"].encode(np.ones(size, int))
    table, _ = _table(shape=shape, floats={"step": count}, length=len(section))
    assert _refused(_pack({"tensors": table}, section)).startswith("section 'w': ")


def test_an_index_map_of_floats_belongs_to_raw_and_no_other_decoder():
    floats = STEP.tobytes() + np.ones(3, "<f4").tobytes()
    table, _ = _table(codec="float32")
    assert _refused(_pack({"tensors": {**table, "lengths": []}}, floats)).startswith("section 'w': ")
    integers = CODECS["lzma"].encode(np.ones(3, int))
    table, _ = _table(decoder="raw", floats={}, length=len(integers))
    assert _refused(_pack({"tensors": table}, integers)).startswith("section 'w': ")


@pytest.mark.parametrize("bits", [-1, 65, True, float("nan"), float("inf"), "4"])
def test_weight_bits_are_a_number_from_0_to_64(bits):
    assert _refused(_file(bits=bits)).startswith("header: weight bits ")


def test_a_tensor_has_at_most_32_axes():
    assert decode(_file(shape=[1] * 31 + [3])).tensors[0].weights().ndim == 32
    assert _refused(_file(shape=[1] * 32 + [3])).startswith("section 'w': ")


def test_two_tensors_of_one_name_are_refused():
    table, section = _table()
    twice = {name: column if name == "kinds" else column * 2 for name, column in table.items()}
    assert _refused(_pack({"tensors": twice}, section + section)) == "header: two tensors of one name"


def test_bytes_between_the_last_section_and_the_checksum_are_refused():
    table, section = _table()
    assert _refused(_pack({"tensors": table}, section + b"x")).startswith("sections: end at byte")


@pytest.mark.parametrize("shape", [[2**28 + 1], [2**20, 2**20], [2**62, 4]])
def test_more_elements_than_allowed_are_refused_before_they_are_made(shape):
    assert "elements declared, at most 268435456 allowed" in _refused(_file(shape=shape))


def test_the_limit_holds_for_all_tensors_together():
    data = _small()
    assert decode(data, max_elements=8).size == len(data)
    assert _refused(data, max_elements=7).startswith("section 'b': 8 elements declared, at most 7")


def test_a_section_that_unpacks_to_more_than_it_declares_is_refused():
    section = STEP.tobytes() + CODECS["lzma"].encode(np.zeros(10**6, int))
    table, _ = _table(length=len(section))
    assert _refused(_pack({"tensors": table}, section)).startswith("section 'w': ")


def test_save_writes_the_bytes_and_nothing_else(tmp_path):
    path = tmp_path / "network.rf"
    save(path, b"old and longer")
    save(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["network.rf"]


def test_a_reader_of_the_old_file_keeps_the_whole_of_it(tmp_path):
    path = tmp_path / "network.rf"
    save(path, b"old" * 10_000)
    with open(path, "rb") as reader:
        start = reader.read(10)
        save(path, b"new")
        assert start + reader.read() == b"old" * 10_000
    assert path.read_bytes() == b"new"


def test_a_failed_save_leaves_nothing_behind(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        save(tmp_path / "taken", b"data")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_files_that_cannot_be_read_are_named(tmp_path):
    for path in (tmp_path / "missing.rf", tmp_path):
        with pytest.raises(ArtifactError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: cannot be read (")
        with pytest.raises(ArtifactError, match="cannot be read"):
            decompress(path)


def _artifact_of(network, drop=(), **more):
    state = {name: value for name, value in network.state_dict().items() if name not in drop}
    tensors = [raw(name, value.numpy()) for name, value in {**state, **more}.items() if "tracked" not in name]
    return encode({"hidden": 4}, tensors)


def test_load_fills_the_network_that_the_card_builds(tmp_path, build):
    network, path = build(seed=1).eval(), tmp_path / "network.rf"
    save(path, _artifact_of(network))
    loaded = load(path, lambda card: build(hidden=card["hidden"], seed=2).train())
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert not any(module.training for module in loaded.modules())
    assert torch.equal(loaded(inputs), network(inputs))


def test_decompress_gives_the_state_that_load_builds(tmp_path, build):
    network, path = build(), tmp_path / "network.rf"
    save(path, _artifact_of(network))
    state = decompress(path)
    assert set(state) == {name for name in network.state_dict() if "tracked" not in name}
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    with pytest.raises(ArtifactError, match="at most 10 allowed"):
        decompress(path, max_elements=10)


@pytest.mark.parametrize(
    ("hidden", "drop", "more"),
    [(5, (), {}), (4, ("fc.bias",), {}), (4, (), {"extra": torch.ones(1)}), (4, ("conv.weight", "fc.weight"), {})],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, build, hidden, drop, more):
    path = tmp_path / "network.rf"
    save(path, _artifact_of(build(), drop, **more))
    with pytest.raises(ArtifactError, match=r"^section '.*': shape .*, the network has ") as caught:
        load(path, lambda card: build(hidden))
    assert "\n" not in str(caught.value)


def test_load_into_accepts_a_decoded_file(build):
    source, target = build(seed=3), build(seed=4)
    artifact = decode(_artifact_of(source))
    assert isinstance(artifact, Artifact)
    assert load_into(target, artifact) is target
    assert torch.equal(target.fc.weight, source.fc.weight)
    assert torch.equal(target.bn.running_mean, source.bn.running_mean)


CONV = np.arange(-36, 36, dtype=np.int32).reshape(4, 2, 3, 3)
SETS = (np.array([1, 0, 1, 1], bool), np.array([0, 1], bool))


@pytest.mark.parametrize(
    ("decoder", "floats"), [("uniform", 4), ("uniform", 1), ("deadzone", 4), ("dct", 9), ("raw", 0)]
)
@pytest.mark.parametrize(("rows", "columns"), [SETS, (SETS[0], None), (None, SETS[1]), (SETS[0] & False, SETS[1])])
def test_what_is_cut_comes_back_between_zeros(decoder, floats, rows, columns):
    names = {"deadzone": ("step", "shift"), "raw": ()}.get(decoder, ("step",))
    values = {name: np.arange(1, floats + 1, dtype=np.float32) for name in names}
    whole = Symbols("w", CONV if names else CONV.astype(np.float32), decoder, values)
    cut = whole.cut(rows, columns)
    back = decode(encode({}, [cut])).tensors[0]
    expected = whole.weights()
    for axis, part in enumerate((rows, columns)):
        if part is not None:
            np.moveaxis(expected, axis, 0)[~part] = 0
    assert np.array_equal(back.dense(), expected)
    assert np.array_equal(back.weights(), cut.weights())
    assert back.dense_shape == CONV.shape
    assert len(encode({}, [cut])) < len(encode({}, [whole])) + 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sets": ["b0", 7]}, "a set of axis 1 must be 2 bits"),
        ({"sets": ["b0", "4"]}, "a set of axis 1 must be 2 bits"),
        ({"sets": ["b0", "4g"]}, "a set of axis 1 must be 2 bits"),
        ({"sets": ["b0", "41"]}, "a set of axis 1 must be 2 bits and zeros"),
        ({"sets": ["b0"]}, "no set '2' for axis 1"),
        ({"rows": [-1]}, "no set '-1' for axis 0"),
        ({"rows": [True]}, "no set 'True' for axis 0"),
        ({"rows": []}, "1 names, other numbers of rows and columns"),
        ({"rows": {}}, "tensors must be a table"),
    ],
)
def test_a_wrong_set_is_named(change, message):
    row = header.Row("w", (4, 2, 3, 3), "context", "uniform", 8.0, {"step": 1}, 10, *SETS)
    text = zlib.decompressobj(-15, zdict=COMMON).decompress(header.pack({}, [row]))
    table = json.loads(text)["tensors"]
    assert header.unpack(_deflate_json({"tensors": table}))[1][0].held == (3, 1, 3, 3)
    with pytest.raises(ArtifactError, match=message):
        header.unpack(_deflate_json({"tensors": {**table, **change}}))


def _pair():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 1, bias=False), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1, bias=False)
    )


@pytest.mark.parametrize("both", [True, False])
def test_a_file_whose_channels_do_not_fit_each_other_is_refused(both, tmp_path):
    rows = np.array([1, 1, 0, 1], bool)
    first, last = (raw(f"{n}.weight", np.ones(shape)) for n, shape in ((0, (4, 1, 1, 1)), (2, (2, 4, 1, 1))))
    tensors = [first.cut(rows, None), last.cut(None, rows) if both else last]
    save(tmp_path / "cut.rf", encode({"input_shape": [1, 5, 5]}, tensors))
    if both:
        network = load(tmp_path / "cut.rf", lambda card: _pair())
        assert network(torch.ones(1, 1, 5, 5)).unique().tolist() == [3.0]
        assert {n: v.shape for n, v in network.state_dict().items()} == {
            n: v.shape for n, v in decompress(tmp_path / "cut.rf").items()
        }
    else:
        with pytest.raises(
            ArtifactError, match=r"section '2\.weight': channels have left that this network cannot do without"
        ):
            load(tmp_path / "cut.rf", lambda card: _pair())
