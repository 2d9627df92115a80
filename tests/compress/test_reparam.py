import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from compress.reparam import AffineDecoder, ConvDecoder, EntropyConv2d, EntropyLinear, latents
from tests.compress.decoded import small_linear, small_network, unit_of

STEP = math.exp(-4)
TRANSFORMS = pytest.mark.parametrize("transform", ["identity", "dct", "dft"])


# plain layers


def test_the_signatures_are_the_documented_ones():
    def defaults(kind):
        return {n: p.default for n, p in inspect.signature(kind).parameters.items()}

    assert defaults(AffineDecoder)["l"] == 1
    assert next(iter(defaults(ConvDecoder))) == "kernel_size"
    must = inspect.Parameter.empty
    linear = {"in_features": must, "out_features": must, "weight_decoder": must}
    rest = {"bias_decoder": None, "ema_decay": 0.999}
    assert list(defaults(EntropyLinear).items()) == list((linear | rest).items())
    conv = {"kernel_size": must} | linear | {"padding": 0, "stride": 1} | rest
    assert list(defaults(EntropyConv2d).items()) == list(conv.items())


@pytest.mark.parametrize(("padding", "stride", "kernel"), [(0, 1, 3), (1, 2, 3), (2, 1, (3, 5)), (0, 2, 2), (0, 1, 1)])
def test_a_convolution_is_the_plain_one_of_its_weights(padding, stride, kernel):
    layer = EntropyConv2d(kernel, 2, 6, ConvDecoder(kernel), padding=padding, stride=stride)
    plain = nn.Conv2d(2, 6, kernel, stride=stride, padding=padding)
    assert layer.weight.shape == plain.weight.shape
    plain.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
    x = torch.randn(3, 2, 9, 8)
    assert torch.equal(layer(x), plain(x))


def test_a_linear_layer_is_the_plain_one_of_its_weights():
    layer, plain = small_linear(), nn.Linear(7, 5)
    plain.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
    x = torch.randn(4, 7)
    assert torch.equal(layer(x), plain(x))
    assert isinstance(layer, nn.Linear)


def test_without_a_bias_decoder_the_bias_stays_as_it_is():
    layer = EntropyLinear(7, 5, AffineDecoder())
    assert isinstance(layer.bias, nn.Parameter)
    assert [name for name, _, _ in latents(layer)] == ["weight"]
    conv = EntropyConv2d(3, 1, 2, ConvDecoder(3))
    assert isinstance(conv.bias, nn.Parameter)
    assert conv(torch.zeros(1, 1, 3, 3)).flatten().tolist() == conv.bias.tolist()


def test_layers_stand_in_a_sequence_and_know_their_names():
    network = small_network()
    assert network(torch.randn(2, 1, 4, 4)).shape == (2, 3)
    assert [name for name, _, _ in latents(network)] == ["0.weight", "3.weight", "3.bias"]


@pytest.mark.slow
def test_compress_alone_brings_the_layers_and_no_ray():
    lines = [
        "import sys, torch, compress",
        "import compress.reparam as r",
        "layer = r.EntropyLinear(3, 2, r.AffineDecoder())",
        "r.entropy_bits(layer).backward()",
        "print(sorted({'ray', 'optuna', 'mlflow', 'yaml', 'tasks', 'trainables'} & set(sys.modules)))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


# decoders


@pytest.mark.parametrize("steps", [1, 5])
def test_hard_weights_are_integers_times_steps(steps):
    layer = small_linear(steps=steps)
    with torch.no_grad():
        unit_of(layer)[0].decoder.log_step.add_(torch.linspace(-1, 1, steps))
    sizes = unit_of(layer)[0].decoder.log_step.detach().exp()
    assert sizes.shape == (steps,)
    integers = layer.weight.detach() / sizes.reshape(-1, 1)
    assert (integers - integers.round()).abs().max() < 1e-3
    assert len(integers.round().unique()) > 3


def test_each_output_has_its_own_step():
    layer = small_linear(steps=5)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        unit_of(layer)[0].decoder.log_step[2] += 1
    changed = (layer.weight.detach() != before).any(1)
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("steps", [1, 5])
def test_affine_latents_are_weights_and_lose_half_a_step_at_most(steps):
    decoder, weight = AffineDecoder(steps), torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(decoder.latent(weight), weight)
    hard = decoder(decoder.index(decoder.latent(weight)).round())
    assert (hard - weight).abs().max() <= 0.501 * STEP


@TRANSFORMS
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (2, 3), (1, 1), (4,), (2, 2, 2)])
def test_kernels_come_back_from_frequencies_within_half_a_step_each(transform, kernel):
    decoder = ConvDecoder(kernel, transform)
    weight = torch.randn(6, 3, *kernel, generator=torch.Generator().manual_seed(0))
    latent = decoder.latent(weight)
    assert latent.shape == weight.shape
    assert torch.allclose(decoder(decoder.index(latent)), weight, atol=1e-5)
    hard = decoder(decoder.index(latent).round())
    assert (decoder.latent(hard) - latent).abs().max() <= 0.51 * STEP
    assert (hard - weight).norm() <= 0.51 * STEP * weight.numel() ** 0.5  # orthonormal: no error grows


@TRANSFORMS
def test_a_step_belongs_to_a_frequency(transform):
    decoder = ConvDecoder(3, transform)
    assert decoder.log_step.shape == (9,)
    assert decoder.channels == 9
    weight = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    before = decoder.index(decoder.latent(weight)).flatten(2)
    with torch.no_grad():
        decoder.log_step[4] += math.log(2)
    after = decoder.index(decoder.latent(weight)).flatten(2)
    assert torch.allclose(before[..., 4], 2 * after[..., 4])
    rest = [n for n in range(9) if n != 4]
    assert torch.equal(before[..., rest], after[..., rest])


def test_the_first_kernels_differ():
    """The original's began alike in every tap."""
    layer = EntropyConv2d(5, 1, 4, ConvDecoder(5))
    assert torch.linalg.matrix_rank(layer.weight.detach().flatten(1)) == 4


@TRANSFORMS
def test_what_is_shipped_are_the_weights_of_evaluation(transform):
    layer = EntropyConv2d(3, 2, 5, ConvDecoder(3, transform)).eval()
    unit, latent = unit_of(layer)
    symbols = unit.symbols("weight", latent)
    assert symbols.index.dtype == np.int32
    assert symbols.weights() == pytest.approx(layer.weight.detach().numpy(), abs=1e-6)


def test_one_decoder_may_serve_many_layers():
    decoder = AffineDecoder()
    network = nn.Sequential(EntropyLinear(4, 6, decoder, decoder), EntropyLinear(6, 2, decoder))
    names = [name for name, _ in network.named_parameters() if name.endswith("log_step")]
    assert len(names) == 1
    network(torch.randn(2, 4)).square().sum().backward()
    assert decoder.log_step.grad.abs() > 0
