import copy

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from compress.constants import Constants
from compress.graph import trace
from compress.reach import parameters_left, reach
from compress.shrink import IndexedAdd, Select, shrink
from tasks.networks import build_network

SHAPE = (3, 16, 16)
NETWORKS = {
    "resnet20": {"maps": 4},
    "lenet5": {},
    "lenet300": {},
}


class Odd(nn.Module):
    """Concatenation, grouped and depthwise convolutions, a product, a channel pad, a convolution shortcut, a flatten."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.left, self.right = nn.Conv2d(8, 6, 1, bias=False), nn.Conv2d(8, 4, 3, stride=1, padding=1)
        self.deep, self.deep_norm = nn.Conv2d(10, 10, 3, padding=1, groups=10), nn.BatchNorm2d(10)
        self.grouped = nn.Conv2d(10, 20, 3, padding=0, groups=2)
        self.gate = nn.Conv2d(20, 20, 1)
        self.down, self.short, self.short_norm = (
            nn.Conv2d(20, 24, 3),
            nn.Conv2d(20, 24, 3, bias=False),
            nn.BatchNorm2d(24),
        )
        self.relu, self.pool = nn.ReLU6(inplace=True), nn.AvgPool2d(2, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(28 * 7 * 7, 12), nn.Hardswish(), nn.Linear(12, 5))

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = torch.cat([F.relu(self.left(x)), self.right(x)], 1)
        x = self.grouped(F.silu(self.deep_norm(self.deep(x))) + x)
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        y = self.short_norm(self.short(x))
        y += self.down(x)
        y = F.pad(self.relu(y), (0, 0, 0, 0, 2, 2))
        return self.head(self.pool(F.max_pool2d(y, 3, 1, 1)))


def network(name, seed):
    torch.manual_seed(seed)
    made = Odd() if name == "odd" else build_network(name, SHAPE, 5, NETWORKS[name])
    draw = torch.Generator().manual_seed(seed)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=draw))
            module.running_var.copy_(torch.rand(module.bias.shape, generator=draw) + 0.5)
    return made.double().eval()


@torch.no_grad()
def masked(made, seed, rate, constants):
    """Channels of norms and rows and columns of layers are zero; of ``constants`` the shifts stay."""
    draw = torch.Generator().manual_seed(seed)
    for module in made.modules():
        share = rate if rate < 1 else float(torch.randint(0, 2, (), generator=draw))
        for axis, kinds in ((0, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)), (1, (nn.Conv2d, nn.Linear))):
            if isinstance(module, kinds):
                dead = torch.rand(module.weight.shape[axis], generator=draw) < share * (1 if axis == 0 else 0.3)
                module.weight.transpose(0, axis)[dead] = 0
                if axis == 0 and module.bias is not None and not constants:
                    module.bias[dead] = 0
    return made


def state(made):
    return {name: v.numpy() for name, v in made.state_dict().items()}


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", [*NETWORKS, "odd"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), constants=st.booleans())
def test_the_small_network_is_the_masked_one(name, fold, seed, rate, constants):
    made = masked(network(name, seed), seed, rate, constants)
    before = copy.deepcopy(made.state_dict())
    small = shrink(made, SHAPE, fold)
    inputs = torch.randn(2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(small(inputs), made(inputs), rtol=1e-9, atol=1e-12)
    assert sum(p.numel() for p in small.parameters()) == parameters_left(trace(made, SHAPE), state(made), fold)
    assert all(torch.equal(v, before[n]) for n, v in made.state_dict().items())


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.2, 0.6, 1.0]))
@example(seed=37415, rate=1.0)
def test_what_is_small_does_not_shrink_again(seed, rate):
    small = shrink(masked(network("resnet20", seed), seed, rate, False), SHAPE)
    assert sum(p.numel() for p in shrink(small, SHAPE).parameters()) == sum(p.numel() for p in small.parameters())


def brute_force(made, inputs):
    """Channels of the norms whose γ and β move the output."""
    alive = {}
    for name, module in made.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            outputs = made(inputs)
            (slope,) = torch.autograd.grad(outputs.square().sum(), module.weight)
            alive[name] = (slope != 0).numpy()
    return alive


@pytest.mark.parametrize("seed", range(4))
def test_reach_is_what_gradients_say(seed):
    """A channel whose scale has a gradient moves the output, so it stays; of what has none only dead ones are gone."""
    made = masked(network("resnet20", seed), seed, 0.4, False)
    found = reach(trace(made, SHAPE), state(made)).layers
    inputs = torch.randn(16, *SHAPE, dtype=torch.float64)
    for name, alive in brute_force(made, inputs).items():
        scale = made.get_submodule(name).weight.detach().numpy() != 0
        assert not (alive & scale & ~found[name].rows).any()


def test_a_constant_becomes_a_bias():
    made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False)).double().eval()
    with torch.no_grad():
        made[0].weight[1:] = 0
        made[0].bias.copy_(torch.tensor([0.1, 2.0, -3.0, 1.0]))
    small = shrink(made, SHAPE)
    layers = dict(small.named_modules())
    assert (layers["0"].out_channels, layers["2"].in_channels) == (1, 1)
    expected = made[2].weight[:, 1, 0, 0] * 2 + made[2].weight[:, 3, 0, 0]
    torch.testing.assert_close(layers["2"].bias, expected)
    assert shrink(made, SHAPE, fold=False).get_submodule("0").out_channels == 3  # only the one that relu kills


def test_the_networks_own_inputs_stay():
    made = network("lenet300", 1)
    with torch.no_grad():
        made.fc1.weight[:, ::3] = 0
        made.fc1.weight[::2] = 0
        made.fc1.bias[::2] = 0
    small = shrink(made, SHAPE)
    assert small.fc1.weight.shape == (150, 768)


def test_a_padded_reader_sees_a_constant_channel():
    made = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3, padding=1)).double().eval()
    with torch.no_grad():
        made[0].weight[1] = 0
        made[0].bias.fill_(1.0)
    assert shrink(made, SHAPE) is made


def test_a_network_without_zeros_is_left_alone():
    made = network("resnet20", 0)
    assert shrink(made, SHAPE) is made


class Forks(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(self.a(x)))


@pytest.mark.parametrize("made", [nn.Sequential(nn.Conv2d(3, 3, 1), Forks()), Tied()])
def test_what_cannot_be_followed_is_left_alone(made):
    with torch.no_grad():
        next(made.parameters())[0] = 0
    assert shrink(made.eval(), SHAPE) is made


def test_unknown_operations_take_and_give_all_channels():
    class Shuffles(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 6, 1, bias=False), nn.Conv2d(6, 6, 1, bias=False)

        def forward(self, x):
            return self.last(F.channel_shuffle(self.first(x), 2))

    made = Shuffles().double().eval()
    with torch.no_grad():
        made.first.weight[2:] = 0
    small = shrink(made, SHAPE)
    inputs = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(small(inputs), made(inputs))
    assert (small.first.out_channels, small.last.in_channels) == (2, 6)


def test_the_ends_of_a_residual_stream_may_differ():
    made = network("resnet20", 3)
    with torch.no_grad():
        for name, module in made.named_modules():
            if name in ("bn1", "layer1.0.bn2", "layer1.1.bn2"):
                dead = {"bn1": [0], "layer1.0.bn2": [1, 2], "layer1.1.bn2": [0, 1, 2, 3]}[name]
                module.weight[dead], module.bias[dead] = 0, 0
    small = shrink(made, SHAPE)
    assert any(isinstance(m, IndexedAdd) for m in small.modules())
    assert not any(name.startswith("layer1.1.") for name, _ in small.named_parameters())  # the whole branch has left
    inputs = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(small(inputs), made(inputs))


def test_select_scatters_what_it_does_not_gather():
    x = torch.arange(6.0).reshape(1, 3, 2)
    assert Select(np.array([2, 0]))(x).tolist() == [[[4, 5], [0, 1]]]
    assert Select(np.array([3, 0, 1]), 4)(x).tolist() == [[[2, 3], [4, 5], [0, 0], [0, 1]]]


@pytest.mark.parametrize(("left", "right"), [(None, None), (None, [1]), ([0, 1], None), ([2], [0, 2])])
def test_an_indexed_add_is_the_sum_of_scattered_operands(left, right):
    parts = [None if p is None else np.array(p) for p in (left, right)]
    operands = [torch.randn(2, 3 if p is None else len(p), 4) for p in parts]
    whole = sum(o if p is None else Select(p, 3)(o) for o, p in zip(operands, parts, strict=True))
    torch.testing.assert_close(IndexedAdd(*parts, 3)(*operands), whole)


def test_norm_sites_say_what_is_in_front_and_behind():
    sites = {site.name: site for site in trace(network("resnet20", 0), SHAPE).norms()}
    assert len(sites) == 19
    assert (sites["layer1.0.bn1"].filters, sites["layer1.0.bn1"].readers) == ("layer1.0.conv1", ("layer1.0.conv2",))
    assert sites["layer1.0.bn1"].free
    assert not sites["layer1.0.bn2"].free
    assert not sites["bn1"].free


def test_constants_are_what_the_network_computes():
    made = masked(network("odd", 5), 5, 0.5, True)
    graph = trace(made, SHAPE)
    values = Constants(graph, state(made), fold=True).values
    seen = {}

    class Listens(torch.fx.Interpreter):
        def run_node(self, node):
            seen[node.name] = super().run_node(node)
            return seen[node.name].clone() if isinstance(seen[node.name], torch.Tensor) else seen[node.name]

    Listens(torch.fx.GraphModule(made, graph.traced)).run(torch.randn(2, *SHAPE, dtype=torch.float64))
    for name, constant in values.items():
        known = ~np.isnan(constant)
        if known.any():
            channels = seen[name].detach().transpose(0, 1).flatten(1)[torch.from_numpy(known)]
            expected = torch.from_numpy(constant[known])[:, None].expand_as(channels)
            torch.testing.assert_close(channels, expected, msg=name)


def test_a_filter_of_zeros_leaves_though_its_norm_gives_a_constant():
    made = (
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)).double().eval()
    )
    with torch.no_grad():
        made[0].weight[[0, 2]] = 0
        made[1].bias.fill_(0.7)
    small = shrink(made, SHAPE)
    assert [small.get_submodule(n).weight.shape[0] for n in "01"] == [2, 4]
    inputs = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(small(inputs), made(inputs))


def test_relus_write_over_what_nobody_else_reads():
    made = masked(network("resnet20", 2), 2, 0.5, False)
    small = shrink(made, SHAPE)
    assert any(node.target is F.relu and node.kwargs["inplace"] for node in small.graph.nodes)
    inputs = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(small(inputs), made(inputs))
    small.train()(inputs).sum().backward()  # nothing that a gradient needs was written over


def test_a_relu_keeps_what_another_reads():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.first(x)
            return F.relu(x) + self.last(x)

    made = Twice().double().eval()
    with torch.no_grad():
        made.last.weight[:, 1] = 0
    small, inputs = shrink(made, SHAPE), torch.randn(2, *SHAPE, dtype=torch.float64)
    assert small is not made
    torch.testing.assert_close(small(inputs), made(inputs))
