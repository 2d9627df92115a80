import pickle
import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx import GraphModule, symbolic_trace

from compress.methods.baseline import Baseline
from compress.methods.uniform import Uniform
from compress.metrics import METRIC_NAMES, Macs, Metrics, count_macs, count_weights, original_weights, relative_bops
from compress.shipping import ship
from compress.symbols import Symbols, raw
from tasks.networks import build_network


@pytest.fixture(scope="module")
def resnet20():
    return build_network("resnet20", (3, 32, 32), 10, {})


@pytest.fixture(scope="module")
def resnet20_macs(resnet20):
    return count_macs(resnet20, (3, 32, 32))


def _conv_macs(module, height, width):
    taps = module.kernel_size[0] * module.kernel_size[1]
    return height * width * taps * module.out_channels * module.in_channels // module.groups


def test_resnet20_has_the_published_counts(resnet20, resnet20_macs):
    assert 2 * resnet20_macs.total == 81_102_080
    assert original_weights(resnet20) == 269_722


def test_every_mac_of_resnet20_belongs_to_a_layer(resnet20, resnet20_macs):
    weighted = [n for n, m in resnet20.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert sorted(resnet20_macs.layers) == sorted(weighted)
    assert sum(resnet20_macs.layers.values()) == resnet20_macs.total
    assert resnet20_macs.layers["conv1"] == 32 * 32 * 3 * 16 * 9
    assert resnet20_macs.layers["layer2.0.conv1"] == 16 * 16 * 16 * 32 * 9
    assert resnet20_macs.layers["linear"] == 640


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_count_by_their_formula(groups, stride):
    network = nn.Sequential(nn.Conv2d(4, 8, (3, 2), stride=stride, padding=1, groups=groups))
    _, _, height, width = network(torch.zeros(1, 4, 9, 7)).shape
    assert count_macs(network, (4, 9, 7)).layers == {"0": _conv_macs(network[0], height, width)}


def test_a_layer_used_twice_counts_twice():
    layer = nn.Linear(5, 5)
    macs = count_macs(nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer), (1, 1, 5))
    assert (macs.total, macs.layers) == (50, {"1": 50})


def test_a_bare_layer_is_a_network_too():
    layer = nn.Linear(5, 3)
    macs = count_macs(layer, (5,))
    assert (macs.total, macs.layers) == (15, {"": 15})
    tensors = [Symbols("weight", np.ones((3, 5), np.int32), "uniform", {}, 4), raw("bias", np.ones(3, np.float32))]
    assert relative_bops(macs, tensors, macs.total)["rel_bops"] == pytest.approx(4 / 32)


def test_a_weight_of_the_network_itself_does_not_count_its_layers_again():
    network = nn.Sequential(nn.Linear(5, 3))
    network.weight = nn.Parameter(torch.ones(1))
    assert count_macs(network, (5,)).layers == {"0": 15}


class _Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        x = self.project(x.flatten(1, 2)).unsqueeze(1)
        return nn.functional.scaled_dot_product_attention(x, x, x)


def test_training_costs_both_gradients_of_every_layer_but_the_first(resnet20_macs):
    assert resnet20_macs.training == 3 * resnet20_macs.total - resnet20_macs.layers["conv1"]
    assert (resnet20_macs.gops, resnet20_macs.training_gops) == (0.08110208, 0.242421504)
    bare = count_macs(nn.Linear(5, 3), (5,))
    assert (bare.total, bare.training) == (15, 30)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_gradients_of_grouped_convolutions_count_by_groups(kind, groups):
    """A group is a convolution of its own: as many small ones cost the same."""
    network = nn.Sequential(nn.Conv2d(8, 8, 1), kind(8, 8, 3, padding=1, groups=groups))
    macs = count_macs(network, (8, 6, 5))
    assert macs.layers == {"0": 30 * 64, "1": 30 * 9 * 64 // groups}
    assert macs.training == 2 * macs.layers["0"] + 3 * macs.layers["1"]


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.act, self.conv = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = torch.relu(x)
        return x + self.conv(self.act(self.norm(x)))


def test_norms_before_activations_in_place_are_counted_past():
    assert count_macs(nn.Sequential(nn.Conv2d(1, 4, 1), _Block()), (1, 2, 2)).training == 2 * 16 + 3 * 64


@pytest.mark.parametrize("frozen", ["0.weight", "1.weight", "2.weight"])
def test_a_frozen_weight_needs_no_gradient_and_norms_before_it_still_have_theirs(frozen):
    network = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False))
    network.get_parameter(frozen).requires_grad_(False)
    saved = {"0.weight": 4, "1.weight": 0, "2.weight": 16}[frozen]
    assert count_macs(network, (1, 1, 1)).training == 20 + 4 + 2 * 16 - saved


def test_nothing_to_train_costs_forward_alone():
    macs = count_macs(nn.Linear(5, 3).requires_grad_(False), (5,))
    assert macs.training == macs.total == 15
    with torch.inference_mode(), torch.no_grad():
        assert count_macs(nn.Linear(5, 3), (5,)).total == 15


@pytest.mark.parametrize("name", ["resnet20", "vgg19", "lenet5", "mlp"])
def test_a_traced_network_counts_as_itself(name):
    network = build_network(name, (3, 32, 32), 10, {})
    macs = count_macs(network, (3, 32, 32))
    assert count_macs(GraphModule(network, symbolic_trace(network).graph), (3, 32, 32)) == macs
    assert count_macs(GraphModule(network, symbolic_trace(network).graph, class_name="Shrunk"), (3, 32, 32)) == macs


def test_a_layer_that_is_gone_has_no_count_and_one_of_no_channels_none_to_give(resnet20):
    traced = symbolic_trace(resnet20)
    before = count_macs(traced, (3, 32, 32))
    (gone,) = (n for n in traced.graph.nodes if n.target == "layer1.1.conv1")
    gone.replace_all_uses_with(gone.args[0])
    traced.graph.erase_node(gone)
    traced.recompile()
    after = count_macs(traced, (3, 32, 32))
    lost = before.layers["layer1.1.conv1"]
    assert set(before.layers) - set(after.layers) == {"layer1.1.conv1"}
    assert (after.total, after.training) == (before.total - lost, before.training - 3 * lost)
    traced.delete_all_unused_submodules()
    assert count_macs(traced, (3, 32, 32)) == after
    tensors = [raw(n, v.numpy()) for n, v in resnet20.state_dict().items()]
    assert relative_bops(after, tensors, before.total)["rel_bops"] == pytest.approx(1 - lost / before.total)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initialising no numbers
        hollow = nn.Sequential(nn.Conv2d(3, 0, 3), nn.Conv2d(0, 4, 3))
    assert count_macs(hollow, (3, 8, 8)).total == 0


def test_attention_counts_in_all_and_in_no_layer():
    macs = count_macs(_Attention(), (2, 3, 8))
    assert macs.layers == {"project": 6 * 8 * 8}
    assert macs.total == 6 * 8 * 8 + 2 * 6 * 6 * 8


def test_attention_costs_32_bits_whatever_the_weights_cost():
    macs = count_macs(_Attention(), (2, 3, 8))
    tensors = [Symbols("project.weight", np.ones((8, 8), np.int32), "uniform", {}, 4)]
    bops = relative_bops(macs, tensors, macs.total)
    assert bops["rel_bops"] == pytest.approx((384 * 4 + 576 * 32) / (960 * 32))


def test_counting_leaves_the_network_alone(build):
    network = build().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_macs(network, (1, 4, 4))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_original_weights_are_the_trainable_ones(build):
    network = build()
    assert original_weights(network) == 4 * 9 + 2 * 4 + 64 * 3 + 3
    network.fc.weight.requires_grad_(False)
    assert original_weights(network) == 4 * 9 + 2 * 4 + 3


MACS = Macs(1000, {"conv": 600, "fc": 300}, 3000)


def _coded(name, index, bits):
    return Symbols(name, np.array(index, np.int32), "uniform", {"step": np.ones(1, np.float32)}, bits)


def test_bops_of_the_dense_network_are_one(resnet20, resnet20_macs):
    tensors = [raw(name, value.numpy()) for name, value in resnet20.state_dict().items()]
    bops = relative_bops(resnet20_macs, tensors, resnet20_macs.total)
    assert (bops["rel_bops"], bops["rel_bops_dense"]) == (1.0, 1.0)
    assert bops["bops"] == 32 * 32 * 40_551_040


def test_bops_count_bits_and_density():
    tensors = [
        _coded("conv.weight", [[1, 0], [0, 0]], 4),
        _coded("fc.weight", [[1, -2]], 8),
        raw("fc.bias", np.ones(2)),
    ]
    bops = relative_bops(MACS, tensors, 2000)
    assert bops["bops"] == 32 * (600 * 4 * 0.25 + 300 * 8 + 100 * 32)
    assert bops["rel_bops"] == pytest.approx((600 + 2400 + 3200) / (32 * 2000))
    assert bops["rel_bops_dense"] == pytest.approx((2400 + 2400 + 3200) / (32 * 2000))


def test_a_layer_without_a_tensor_costs_32_bits():
    assert relative_bops(MACS, [], 1000)["rel_bops"] == 1.0


def test_bops_of_zero_weights_are_zero():
    macs = Macs(600, {"conv": 600}, 1800)
    bops = relative_bops(macs, [_coded("conv.weight", [[0, 0]], 4)], 600)
    assert (bops["bops"], bops["rel_bops"], bops["rel_bops_dense"]) == (0, 0, 4 / 32)


def test_weights_are_counted_over_the_original_ones():
    tensors = [_coded("conv.weight", [[1, 0], [0, 0]], 4), raw("bias", np.array([0.0, 2.0])), raw("mean", np.zeros(9))]
    counts = count_weights(tensors, {"conv.weight", "bias"}, 6)
    assert counts.sparsity == pytest.approx(4 / 6)
    assert counts.mean_bits == pytest.approx((4 * 4 + 2 * 32) / 6)


def test_weights_that_left_the_network_count_as_zeros_of_no_bits():
    counts = count_weights([_coded("conv.weight", [[1, 1]], 6)], {"conv.weight", "gone.weight"}, 8)
    assert (counts.sparsity, counts.mean_bits) == (0.75, 1.5)


@pytest.mark.parametrize(("method", "bits"), [(Baseline(), 32), (Uniform(bitwidth=4, store="float16"), 4)])
def test_the_counts_of_a_shipped_network(method, bits, build, no_batches):
    model = build()
    trainable, weights = {n for n, _ in model.named_parameters()}, original_weights(model)
    macs = count_macs(model, (1, 4, 4))
    method.prepare(model, no_batches)
    shipped = ship(method, model, build, {})
    counts = count_weights(shipped.artifact.tensors, trainable, weights)
    bops = relative_bops(count_macs(shipped.network, (1, 4, 4)), shipped.artifact.tensors, macs.total)
    zeros = sum(int((p == 0).sum()) for p in shipped.network.parameters())
    coded = 36 + 192
    assert counts.sparsity == pytest.approx(zeros / weights)
    assert counts.mean_bits == pytest.approx((coded * bits + (weights - coded) * 32) / weights)
    assert bops["rel_bops_dense"] == bits / 32
    assert bops["rel_bops"] <= bits / 32


def test_plain_holds_every_field():
    values = {name: number for number, name in enumerate(METRIC_NAMES)}
    assert {f.name for f in fields(Metrics)} == {*METRIC_NAMES, "measures"}
    assert Metrics(**values).plain() == values


def test_measures_of_a_method_read_like_fields():
    values = {name: number for number, name in enumerate(METRIC_NAMES)}
    metrics = Metrics(**values, measures={"sent_bits_coded": 99.0})
    assert metrics.sent_bits_coded == 99.0
    assert metrics.plain() == {**values, "sent_bits_coded": 99.0}
    assert pickle.loads(pickle.dumps(metrics)) == metrics
    with pytest.raises(AttributeError, match="no metric 'sent_bits'"):
        metrics.sent_bits  # noqa: B018
