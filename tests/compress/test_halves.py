import numpy as np
import pytest
import torch
from torch import nn

from compress.artifact import ArtifactError, decode, encode, load_into
from compress.channel import Link
from compress.codebooks import CodebookLayer, Shape, attach, described
from compress.halves import (
    DeviceHalf,
    coded_bits,
    decode_places,
    device_half,
    encode_places,
    head_tensors,
    is_half,
    working_codebook,
)
from compress.shipping import device_file
from compress.symbols import raw


def _dense():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 2)).eval()


def _divided():
    network, layer = _dense(), CodebookLayer(Shape(4, 3, 3), Link("psk", 20.0), "distance")
    attach(network, "1", layer)
    return network, layer


def _file(**changes):
    network, layer = _divided()
    card = {"input_shape": [1, 4, 4], "codebooks": [described(layer, "1", [1, 0, 2, 3])], "codebook": 0, **changes}
    state = network.state_dict()
    return encode(card, [raw(n, v.numpy()) for n, v in state.items() if not n.endswith("num_batches_tracked")])


def test_a_half_ends_with_what_is_sent_and_has_no_tail():
    network, layer = _divided()
    names, x = set(network.state_dict()), torch.randn(2, 1, 4, 4)
    half = device_half(network, (1, 4, 4), keep=True)
    assert set(network.state_dict()) == names
    assert {n.partition(".")[2] for n in half.state_dict()} == {n for n in names if not n.startswith("3.")}
    assert set(head_tensors(network, (1, 4, 4))) == {n for n in names if not n.startswith("3.")}
    sent = half(x)
    rows = network[0](x)
    assert sent.shape == (2, 4, 4)
    assert sent.dtype == torch.int64
    with torch.no_grad():
        z = nn.functional.batch_norm(rows, network[1].running_mean, network[1].running_var).movedim(1, -1)
        assert torch.equal(sent, torch.cdist(z, layer.embedding.detach()).argmin(-1))
    assert working_codebook(network) is layer


def test_a_halved_file_loads_as_that_half():
    data = device_file(decode(_file()), _dense())
    artifact = decode(data)
    assert is_half(artifact.card)
    half, x = load_into(_dense(), artifact), torch.randn(3, 1, 4, 4)
    assert isinstance(half, DeviceHalf)
    assert torch.equal(half(x), device_half(_divided()[0], (1, 4, 4))(x))
    with pytest.raises(ArtifactError, match="no half to take"):
        device_file(artifact, _dense())


@pytest.mark.parametrize("input_shape", [None, [], [1], ["a"], [2, 4, 4], [1, -4, 4], "xyz"])
def test_a_card_of_a_half_that_cannot_be_run_is_refused(input_shape):
    artifact = decode(device_file(decode(_file()), _dense()))
    card = {**artifact.card, "input_shape": input_shape}
    with pytest.raises(ArtifactError):
        load_into(_dense(), decode(encode(card, artifact.tensors)))


def test_a_half_without_a_tensor_of_its_head_is_refused():
    artifact = decode(device_file(decode(_file()), _dense()))
    for tensors in (artifact.tensors[1:], [*artifact.tensors, raw("3.bias", np.zeros(2, np.float32))]):
        with pytest.raises(ArtifactError):
            load_into(_dense(), decode(encode(artifact.card, tensors)))


def test_a_bit_count_is_that_of_real_bytes():
    bits = coded_bits([np.zeros((8, 8), np.int64), np.arange(64).reshape(8, 8) % 4], [0, 1, 2, 3])
    assert bits[0] == 8, "zeros alone are a byte"
    assert bits[1] % 8 == 0
    assert coded_bits([np.array(3)], [3, 0, 1, 2]) == [8]


@pytest.mark.parametrize(("side", "count"), [(1, 3), (4, 2), (4, 16), (8, 7), (16, 64), (16, 300), (32, 16)])
def test_a_coded_map_decodes(side, count):
    rng = np.random.default_rng(0)
    common = [int(n) for n in rng.permutation(count)]
    chances = 0.5 ** np.arange(count) + 1e-3
    for places in rng.choice(common, (5, side, side), p=chances / chances.sum()):
        data = encode_places(places, common)
        assert np.array_equal(decode_places(data, places.shape, common), places)
        assert coded_bits([places], common) == [8 * len(data)]
    assert decode_places(encode_places(np.array(common[-1]), common), (), common) == common[-1]


def test_a_map_of_places_that_are_not_there_is_refused():
    data = encode_places(np.arange(16).reshape(4, 4), list(range(16)))
    with pytest.raises(ValueError, match="a place beyond the 5 that there are"):
        decode_places(data, (4, 4), list(range(5)))
