"""``python -c "from tests.compress.test_contexts import golden; golden()"`` prints the golden bytes anew."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress.contexts import decode_map, encode_map
from compress.ranged import has_constriction
from compress.scans import Scan, scans

quick = settings(max_examples=60, deadline=None)
needs_constriction = pytest.mark.skipif(not has_constriction(), reason="no wheel for this platform")
INT32 = np.iinfo(np.int32)
shapes = st.lists(st.integers(0, 5), max_size=5).map(tuple) | st.sampled_from(
    [(300,), (7, 64), (5, 192), (20, 10), (3, 2, 3, 3), (2, 3, 5, 1), (4, 3, 7), (2, 1, 2, 3, 2), (1, 1, 40), (600, 1)]
)
integers = st.tuples(st.sampled_from([1, 2, 3, 15, 16, 127, 255, 1000, 2**20, INT32.max]), shapes).flatmap(
    lambda drawn: hnp.arrays(np.int64, drawn[1], elements=st.integers(max(-drawn[0] - 1, INT32.min), drawn[0]))
)


def _sample(seed, shape, levels, zeros):
    """The same on every machine: no draw but of whole numbers."""
    draw = np.random.RandomState(seed)
    values = draw.randint(-levels, levels + 1, shape)
    return values * (draw.randint(0, 100, shape) >= zeros)


SAMPLES = {
    "zeros": np.zeros((3, 2), np.int64),
    "conv": _sample(1, (6, 3, 3, 3), 7, 50),
    "linear": _sample(2, (12, 20), 3, 70),
    "pixels": np.tile(np.arange(64) % 8 // 3, (16, 1)) * (np.arange(16) % 3 - 1)[:, None],
    "vector": _sample(3, (50,), 20, 10),
    "wide": np.array([[-(2**31), 2**31 - 1, 0], [300, -7, 2**24]]),
}
# written once, decoded for ever
GOLDEN = {
    "zeros": "00",
    "conv": "03407e8d85ee5199606359199dfa0d5aa32f7e863fd203a6d997bf056bd7cf4d5f4553a311f0f745f49d98d8a46647a7b51e7552a24514965ecc98d0e6",
    "linear": "0240788478d6a279520e9a1f038946de21adbb68e9d38812fcfc9f106d02964e0164d7c046a8f61c71b53f89ad43877ad3d7a21b",
    "pixels": "02417e7df37c000012aa206f09c0b476bf1479563485c668828ad40f6ac19373954603a04aca1bd399155836ba587715dfd39d8c839437a9ac85e7fd92648237292ea9a9573fc75ae583e53fcee766acf9af634ae3fd79a1c3d426e6008faf7d0000000000000000",
    "vector": "05409590968af5b79e8b360c677d6dd42c2f8138ae0c61718424b7b72abc19a92a23d56af1931a693f6000000000",
    "wide": "20408a939389c22a9d85ffbe20a1f278ffff3d5e47a3244952c05f254992000000a6",
}
# of before the mantissas came last
EARLY = {
    "conv": "03007e8d857c529960d778c442904ed0a1fa9fe86c1e938d367e98cc8a299fc99a1820cd6e34863aedeac34a420695f0a0ca9fb449df1e8bd689bad58e63064b8a",
    "linear": "020078847dd6a279813360040c2b2a5a4cd3be8c8eca5f2acb8f4f2f0dbc5dac0ba7c7d1379dd571830c5edd4b78c9192bd7fbea",
    "pixels": "02017e7dd23f00003134de5e56a25ec0492cc6ee18156ba111f7aa39e2d074b18e85802cf2af0a2b3b4db300917e1e2eb63e5819ef0bf17939f689984b2c96877145ff4b161c0d65c2829a009291143e5bd363cfbe8ebab6ae86e05b1dc7eb12e053987f",
    "vector": "05009590968af5b79e8b360c677d6dd42c2f9501ae0c9591db5bf8c98c541fb06ab581118db46271842400000000",
    "wide": "20008a939389c22a9d85ffbe20a1f178ffffb8c7ebd89224490afbab24490000009b",
}


def golden():
    """Prints what belongs between the braces."""
    for name, values in SAMPLES.items():
        print(f'    "{name}": "{encode_map(values).hex()}",')


def _entropy(values):
    _, counts = np.unique(values, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum()) / 8


def _laplacian(draw, shape, levels, zeros, scale=None):
    values = np.rint(draw.laplace(0, scale or levels / 6 + 0.3, shape)).clip(-levels, levels).astype(int)
    values[draw.random(shape) < zeros] = 0
    return values


@needs_constriction
@quick
@given(integers, st.booleans())
@example(np.zeros((), np.int64), True)
@example(np.array(-5), True)
@example(np.zeros((0, 3), np.int64), True)
@example(np.array([INT32.min]), True)
@example(np.array([[INT32.min, INT32.max, 0, -1]]), True)
@example(np.full((9, 70), 1), True)
@example(np.full((30, 4, 3, 3), -4), True)
@example(np.zeros((1000, 3), np.int64), True)
@example(np.arange(-2000, 2000).reshape(40, 100), False)
def test_integers_come_back(values, plain):
    decoded = decode_map(encode_map(values), values.shape, plain)
    assert (decoded.dtype, decoded.shape) == (np.int32, values.shape)
    assert np.array_equal(decoded, values)
    assert decoded.flags.writeable


@needs_constriction
@pytest.mark.parametrize("shape", [(700, 90), (40, 30, 3, 3), (300, 64), (90_000,), (2, 41_000), (70_000, 1)])
def test_maps_of_many_bands_come_back(shape):
    values = _laplacian(np.random.default_rng(0), shape, 30, 0.6)
    assert np.array_equal(decode_map(encode_map(values), shape), values)


@needs_constriction
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.bool_])
def test_any_type_of_integer_is_written_alike(dtype):
    values = np.random.default_rng(0).integers(0, 2, (6, 9)) * np.arange(9).clip(0, 1 if dtype is np.bool_ else 9)
    assert encode_map(values.astype(dtype)) == encode_map(values)


@needs_constriction
def test_the_order_in_memory_is_no_matter():
    values = _laplacian(np.random.default_rng(0), (12, 20, 3), 5, 0.5)
    for view in (values.T, values[::2, ::-1], np.asfortranarray(values), np.broadcast_to(values[:1], (4, 20, 3))):
        assert encode_map(view) == encode_map(view.copy(order="C"))
        assert np.array_equal(decode_map(encode_map(view), view.shape), view)


@pytest.mark.parametrize("low", [2**31, -(2**31) - 1])
def test_integers_over_32_bits_are_refused(low):
    with pytest.raises(ValueError, match="expected 32 bits at most"):
        encode_map(np.array([0, low]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), [Scan(1, 0)]),
        ((50,), [Scan(1, 0)]),
        ((8, 16, 3, 3), [Scan(9, 3)]),
        ((8, 16, 1, 3), [Scan(3, 0)]),
        ((8, 16, 3, 1), [Scan(3, 1)]),
        ((8, 16, 5), [Scan(5, 0)]),
        ((8, 16, 2, 3, 4), [Scan(24, 4)]),
        ((4, 4, 3, 3), [Scan(9, 3)]),
        ((4, 3, 3, 3), [Scan(1, 0)]),
        ((1, 1, 20_000), [Scan(10, 0), Scan(16, 4), Scan(25, 5)]),
        ((8, 16, 1, 1), [Scan(8, 0)]),
        ((16, 7), [Scan(7, 0)]),
        ((16, 13), [Scan(13, 0)]),
        ((16, 17), [Scan(1, 0)]),
        ((8, 7), [Scan(1, 0)]),
        ((8, 10), [Scan(5, 0)]),
        ((16, 10), [Scan(10, 0)]),
        ((8, 99), [Scan(9, 0)]),
        ((16, 300), [Scan(10, 0), Scan(300, 10), Scan(25, 5)]),
        ((15, 64), [Scan(8, 0), Scan(16, 4)]),
        ((16, 64), [Scan(8, 0), Scan(64, 8), Scan(16, 4)]),
        ((16, 64, 1, 1), [Scan(8, 0), Scan(64, 8), Scan(16, 4)]),
        ((16, 49), [Scan(7, 0)]),
        ((2, 98), [Scan(7, 0)]),
        ((20, 98), [Scan(7, 0), Scan(49, 7)]),
        ((16, 784), [Scan(8, 0), Scan(784, 28), Scan(16, 4), Scan(49, 7)]),
        ((16, 3072), [Scan(8, 0), Scan(3072, 32), Scan(16, 4)]),
        ((1, 65_536), [Scan(8, 0), Scan(16, 4)]),
        ((8, 100), [Scan(10, 0), Scan(25, 5)]),
    ],
)
def test_scans_follow_kernels_pictures_or_strides(shape, expected):
    assert scans(shape) == expected


@needs_constriction
@pytest.mark.parametrize("shape", [(60_000,), (240, 256), (84, 80, 3, 3), (6000, 10), (77, 784)])
@pytest.mark.parametrize("zeros", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("levels", [1, 3, 7, 31, 100, 1000])
def test_what_has_no_structure_takes_its_entropy(shape, zeros, levels):
    values = _laplacian(np.random.default_rng(levels), shape, levels, zeros)
    assert len(encode_map(values)) <= 1.01 * _entropy(values) + 200


@needs_constriction
@pytest.mark.parametrize("value", [1, -1, 3, -7])
@pytest.mark.parametrize("shape", [(60_000,), (300, 200), (80, 80, 3, 3)])
def test_one_value_throughout_takes_next_to_nothing(value, shape):
    assert len(encode_map(np.full(shape, value))) < 240


def _pictures(draw):
    y, x = np.mgrid[:28, :28]
    waves = [4 * np.sin((x * a + y * b) / 6 + c) for a, b, c in draw.normal(size=(100, 3))]
    return np.rint(waves).astype(int).reshape(100, 784)


def _vignette(draw):
    y, x = np.mgrid[-13.5:14, -13.5:14]
    return np.rint(draw.laplace(0, 2.5, (300, 784)) * np.exp(-(x**2 + y**2) / 60).reshape(-1)).astype(int)


KERNEL = np.array([[1, -2, 0], [3, 4, -1], [0, 2, -3]])
STRUCTURED = {  # a map, and the share of its zero-order entropy that it may take
    "dead rows": (lambda d: _laplacian(d, (200, 150), 7, 0.3, 2) * (d.random((200, 1)) < 0.3), 0.82),
    "dead inputs": (lambda d: _laplacian(d, (64, 32, 3, 3), 7, 0.3, 2) * (d.random((1, 32, 1, 1)) < 0.3), 0.85),
    "dead kernels": (lambda d: _laplacian(d, (64, 32, 3, 3), 7, 0.3, 2) * (d.random((64, 32, 1, 1)) < 0.3), 0.88),
    "equal kernels": (lambda d: KERNEL * (d.random((64, 32, 1, 1)) < 0.5), 0.98),
    "flat kernels": (lambda d: _laplacian(d, (64, 32, 1, 1), 3, 0.3, 1.5) * np.ones((1, 1, 3, 3), int), 0.52),
    "smooth pictures": (_pictures, 0.5),
    "empty margins": (_vignette, 0.86),
}


@needs_constriction
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", STRUCTURED)
def test_structure_is_found(name, seed):
    make, share = STRUCTURED[name]
    values = make(np.random.default_rng(seed))
    assert len(encode_map(values)) < share * _entropy(values)


@needs_constriction
def test_the_cheaper_scan_is_chosen():
    assert encode_map(_pictures(np.random.default_rng(0)))[1] == 64 + 1
    maps = np.rint(3 * np.sin(np.arange(16) / 2)).astype(int) * np.arange(-2, 3)[:, None]
    draw = np.random.default_rng(0)
    assert scans((100, 320))[encode_map(maps[draw.integers(0, 5, (100, 20))].reshape(100, 320))[1] - 64] == Scan(16, 4)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("golden", "name"), [(g, name) for g in (GOLDEN, EARLY) for name in g])
def test_golden_bytes_are_decoded_for_ever(golden, name, plain):
    decoded = decode_map(bytes.fromhex(golden[name]), SAMPLES[name].shape, plain)
    assert decoded.tolist() == SAMPLES[name].tolist()


@needs_constriction
def test_golden_bytes_are_what_is_written():
    assert {name: encode_map(values).hex() for name, values in SAMPLES.items()} == GOLDEN


CONV = bytes.fromhex(GOLDEN["conv"])


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (b"", (3,)),
        (b"\0\0", (3,)),
        (bytes(5), (3,)),
        (b"\x21" + CONV[1:], (6, 3, 3, 3)),
        (b"\xff" + CONV[1:], (6, 3, 3, 3)),
        (b"\1", (3,)),
        (b"\1\0", (3,)),
        (b"\4\0\1\2\3", (3,)),
        (CONV[:1] + b"\1" + CONV[2:], (6, 3, 3, 3)),
        (CONV[:1] + b"\xff" + CONV[2:], (6, 3, 3, 3)),
        (CONV, (6, 3, 3, 2)),
        (CONV, (6, 3, 3, 4)),
        (CONV, (162, 10)),
        (CONV, ()),
        (CONV, (0,)),
        (CONV, (0, 10**30)),
        (CONV, (-6, 3, 3, -3)),
        (CONV, (-1, 162)),
        (CONV, (1,) * 64 + (162,)),
        (CONV, (10**9,)),
        (CONV, (10**30,)),
        (CONV, (10**4000,)),
        (b"\0", (-1,)),
        (b"\0", (0, 10**30)),
        (b"\0", (1,) * 65),
        (b"\1\0\x80" + bytes(4), (2**24,)),
    ],
    ids=lambda value: str(value)[:20] if len(str(value)) < 2000 else "long",
)
def test_bytes_that_do_not_fit_are_refused(data, shape, plain):
    with pytest.raises(ValueError, match=r"\w"):
        decode_map(data, shape, plain)


def test_dead_rows_are_not_left_out_where_the_rest_is_too_little_for_the_best_scan():
    assert (SAMPLES["pixels"].any(1)).mean() < 0.7
    assert encode_map(SAMPLES["pixels"])[1] < 128


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_maps_with_dead_rows_come_back_and_cost_less(share, plain):
    draw = np.random.default_rng(0)
    values = draw.integers(-1, 2, (200, 40)) * (draw.random((200, 1)) < share)
    data = encode_map(values)
    assert data[1] >= 128
    assert np.array_equal(decode_map(data, values.shape, plain), values)
    assert len(data) < 0.9 * _entropy(values)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", GOLDEN)
def test_every_cut_and_all_that_is_added_is_refused(name, plain):
    data, shape = bytes.fromhex(GOLDEN[name]), SAMPLES[name].shape
    for wrong in [data[:n] for n in range(len(data))] + [data + tail for tail in (b"\0", bytes(4), b"junk", bytes(8))]:
        with pytest.raises(ValueError, match=r"\w"):
            decode_map(wrong, shape, plain)


@pytest.mark.parametrize("plain", [False, True])
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(-1, 12), max_size=4).map(tuple))
def test_foreign_bytes_decode_to_the_shape_or_are_refused(plain, data, shape):
    with suppress(ValueError):
        decoded = decode_map(data, shape, plain)
        assert (decoded.dtype, decoded.shape) == (np.int32, shape)


@needs_constriction
@settings(max_examples=200, deadline=None)
@given(integers.filter(lambda values: values.size), st.integers(0, 10_000), st.integers(1, 255))
def test_both_decoders_say_the_same_of_damaged_bytes(values, place, flip):
    data = bytearray(encode_map(values))
    data[place % len(data)] ^= flip
    said = []
    for plain in (False, True):
        try:
            said.append(decode_map(bytes(data), values.shape, plain).tolist())
        except ValueError:
            said.append(None)
    assert said[0] == said[1]
