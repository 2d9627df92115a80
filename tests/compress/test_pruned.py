"""Which channels of real networks are offered, kept and shipped."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.artifact import decode, encode
from compress.graph import trace
from compress.method import KnobError, all_tensors
from compress.methods.slimming import Slimming
from compress.metrics import original_weights
from compress.pruned import pruning_of
from compress.pruning import mask_of
from compress.reach import parameters_left
from tasks.networks import build_network

SHAPE = (3, 16, 16)


def network(name="resnet20", seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_network(name, SHAPE, 10, {})
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model


def prepared(model, **knobs):
    method = Slimming(**knobs)
    method.prepare(model, lambda: iter([torch.randn(4, *SHAPE)]))
    return method


def _without(model, gone):
    """State of the network with the channels of a mask at zero."""
    state = {n: v.clone() for n, v in model.state_dict().items() if not n.startswith("pruning.")}
    pruning = pruning_of(model)
    for site, part in zip(pruning.sites, gone.split(pruning.sizes), strict=True):
        state[f"{site.name}.weight"][part] = state[f"{site.name}.bias"][part] = 0
    return {name: value.numpy() for name, value in state.items()}


RESNET = network()
GRAPH = trace(RESNET, SHAPE)


@pytest.mark.slow
@given(
    st.floats(0, 0.99),
    st.sampled_from(["global", "local", "safe", "safe_local"]),
    st.sampled_from(["gamma", "filter_l1", "filter_l2", "scaled"]),
)
@settings(max_examples=25, deadline=None)
def test_a_rate_of_parameters_is_met_by_the_fewest_channels(rate, criterion, importance):
    model = network()
    method = prepared(model, pruning_rate=rate, target="parameters", pruning_criterion=criterion, importance=importance)
    count, goal = method.count(model, rate), (1 - rate) * original_weights(RESNET)
    gone = method.selected(model, rate)
    assert gone.sum() == count == pruning_of(model).count

    def left(number):
        return parameters_left(GRAPH, _without(model, mask_of(method.order(model), number, len(gone))))

    assert left(count) <= goal or count == len(method.order(model))
    assert count == 0 or left(count - 1) > goal


@pytest.mark.parametrize("criterion", ["global", "local"])
@pytest.mark.parametrize("name", ["resnet20", "vgg16"])
def test_at_the_highest_rate_the_network_still_sees_its_input(name, criterion):
    model = network(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()  # no ReLU stops a signal, which biases would drown
    method = prepared(model, pruning_rate=0.9999, pruning_criterion=criterion)
    gone = method.selected(model, 0.9999)
    pruning = pruning_of(model)
    left = {s.name: int((~part).sum()) for s, part in zip(pruning.sites, gone.split(pruning.sizes), strict=True)}
    assert all(left[site.name] >= 1 for site in pruning.sites if site.spared)
    shipped = network(name)
    state = {n: torch.from_numpy(v) for n, v in _without(model, gone).items()}
    shipped.load_state_dict({n: v * 0 if n.endswith("bias") else v for n, v in state.items()})
    assert (shipped.eval()(torch.rand(2, *SHAPE)) > 0).all()


def test_only_the_ends_of_branches_that_an_add_skips_may_go_altogether():
    model = network()
    prepared(model)
    assert {s.name for s in pruning_of(model).sites if not s.spared} == {
        f"layer{i}.{j}.bn2" for i in (1, 2, 3) for j in (0, 1, 2)
    }
    before, after = RESNET.state_dict(), model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.training
    chain = network("vgg16")
    prepared(chain)
    assert all(site.spared for site in pruning_of(chain).sites)


@pytest.mark.parametrize("criterion", ["safe", "safe_local"])
def test_safe_takes_channels_alone_that_touch_no_residual_add(criterion):
    model = network()
    method = prepared(model, pruning_criterion=criterion, pruning_rate=0.5)
    assert [s.name for s in pruning_of(model).sites] == [f"layer{i}.{j}.bn1" for i in (1, 2, 3) for j in (0, 1, 2)]
    assert method.selected(model, 0.5).sum() == 3 * (16 + 32 + 64) / 2


@pytest.mark.parametrize("norms", ["kept", "folded"])
@pytest.mark.parametrize("store", ["float32", "int8"])
@pytest.mark.parametrize("importance", ["gamma", "filter_l1"])
def test_the_file_holds_zeros_where_channels_are_gone_and_all_else(norms, store, importance):
    model = network()
    method = prepared(model, pruning_rate=0.5, norms=norms, store=store, importance=importance)
    names = list(RESNET.state_dict())
    tensors = {t.name: t.weights() for t in decode(encode({}, all_tensors(method, model, names))).tensors}
    assert set(tensors) == {n for n in names if not n.endswith("num_batches_tracked")}
    gone, pruning = method.selected(model, 0.5), pruning_of(model)
    for site, part in zip(pruning.sites, gone.split(pruning.sizes), strict=True):
        for name in (f"{site.name}.weight", f"{site.name}.bias"):
            zeros = torch.as_tensor(tensors[name]) == 0
            assert zeros[part].all(), name
            assert store == "int8" or not zeros[~part].any(), name
        rows = torch.as_tensor(tensors[f"{site.layer}.weight"])[part]
        assert bool((rows == 0).all()) == (importance == "filter_l1")
        assert norms == "kept" or (tensors[f"{site.name}.running_var"] == 1).all()


class Strange(nn.Module):
    """No tracer follows it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


def test_a_network_that_cannot_be_traced_is_pruned_by_its_norms_alone():
    model = Strange()
    method = prepared(model, pruning_rate=0.5)
    assert method.selected(model, 0.5).sum() == 2
    for knob, value in (("target", "parameters"), ("pruning_criterion", "safe"), ("importance", "filter_l1")):
        with pytest.raises(KnobError, match=f"^{knob} = '{value}': the network cannot be traced"):
            prepared(Strange(), **{knob: value})


def test_a_network_without_what_is_asked_for_is_refused_in_one_line():
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(1024, 3))
    with pytest.raises(KnobError, match=r"^pruning_rate = 0.5: the network has no batch norm whose channels could go$"):
        prepared(plain)
    bare = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(768, 3))
    with pytest.raises(KnobError, match=r"^importance = 'scaled': no filters stand before 0$"):
        prepared(bare, importance="scaled")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("pruning_rate", 1.0, "must lie in [0, 1)"),
        ("pruning_rate", float("nan"), "must lie in [0, 1)"),
        ("pruning_criterion", "greedy", "must be one of global, local, safe, safe_local"),
        ("target", "bytes", "must be one of channels, parameters"),
        ("importance", "taylor", "must be one of gamma, filter_l1, filter_l2, scaled"),
        ("store", "int7", "must be one of float32, float16, int8, int6, int4"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(name, value, rule):
    with pytest.raises(KnobError) as caught:
        Slimming(**{name: value})
    assert str(caught.value) == f"{name} = {value!r}: {rule}"
