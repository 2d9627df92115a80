import pytest
import torch
from torch import nn

from compress.method import all_tensors
from compress.methods import method_class
from compress.norms import _PARTS, folded_norms, is_folded, restate, unfold


@pytest.fixture
def network(build):
    """Batch norms with statistics, scales and shifts of their own."""
    made = build(seed=3)
    with torch.no_grad():
        made.bn.weight.copy_(torch.tensor([0.5, -1.5, 0.0, 2.0]))
        made.bn.bias.copy_(torch.tensor([0.1, 0.0, -3.0, 1.0]))
    return made.eval()


def _images(count=64):
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_a_folded_network_computes_the_same(network, build):
    twin, x = build(seed=9), _images()
    twin.load_state_dict({**network.state_dict(), **folded_norms(network)})
    assert is_folded(twin)
    assert not is_folded(network)
    assert torch.allclose(twin.eval()(x), network(x), atol=1e-5)


def test_half_of_a_folded_norm_takes_no_bytes(network):
    method = method_class("baseline")(norms="folded")
    tensors = {t.name: t for t in all_tensors(method, network, list(network.state_dict()))}
    assert (tensors["bn.running_mean"].weights() == 0).all()
    assert (tensors["bn.running_var"].weights() == 1).all()


def test_kept_norms_are_stored_as_they_are(network):
    method = method_class("baseline")()
    tensors = {t.name: t for t in all_tensors(method, network, list(network.state_dict()))}
    assert torch.equal(torch.from_numpy(tensors["bn.running_var"].weights()), network.bn.running_var)


def test_unfolded_norms_have_the_statistics_of_their_inputs_and_compute_the_same(network, build):
    twin, x = build(seed=9), _images()
    twin.load_state_dict({**network.state_dict(), **folded_norms(network)})
    unfold(twin, x.split(16))
    seen = network.conv(x).transpose(0, 1).flatten(1)
    assert not is_folded(twin)
    assert torch.allclose(twin.bn.running_mean, seen.mean(1), atol=1e-5)
    assert torch.allclose(twin.bn.running_var, seen.var(1, unbiased=False), atol=1e-5)
    assert torch.allclose(twin.eval()(x), network(x), atol=1e-5)


def test_an_unfolded_norm_computes_nearly_the_same_in_training(network, build):
    """A folded one does not: it would scale what the batch's own statistics have scaled already."""
    twin, x = build(seed=9), _images(512)
    unfold(network, [x])  # so that running and batch statistics agree
    twin.load_state_dict({**network.state_dict(), **folded_norms(network)})
    wrong = (twin.train()(x) - network.eval()(x)).abs().max()
    twin.load_state_dict({**network.state_dict(), **folded_norms(network)})
    unfold(twin, [x])
    assert (twin.train()(x) - network.eval()(x)).abs().max() < 1e-3 < wrong


def test_networks_without_batch_norms_are_left_alone():
    plain = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False))
    assert folded_norms(plain) == {}
    assert not is_folded(plain)
    unfold(plain, [torch.ones(2, 2)])


def test_norms_without_a_name_of_their_own_are_folded_too():
    norm = nn.BatchNorm1d(3)
    assert set(folded_norms(norm)) == {"weight", "bias", "running_mean", "running_var"}


def test_a_choice_that_is_none_is_refused():
    with pytest.raises(ValueError, match="norms = 'melted': must be one of folded, kept"):
        method_class("baseline")(norms="melted")


def test_restated_norms_have_the_mean_statistics_of_their_batches(network):
    x = _images()
    means = [network.conv(part).transpose(0, 1).flatten(1).mean(1) for part in x.split(16)]
    restate(network.train(), x.split(16))
    assert torch.allclose(network.bn.running_mean, torch.stack(means).mean(0), atol=1e-5)
    assert network.training
    assert network.bn.momentum == 0.1


def test_restating_changes_nothing_but_statistics(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    restate(network, _images().split(16))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    assert not network.bn.training


def test_a_dead_channel_is_its_shift_and_spoils_no_other(network, build):
    """Its input never changes: left alone, its slope would be γ / √ε, some hundred times the others'."""
    with torch.no_grad():
        network.conv.weight[0] = 0
        network.bn.running_mean[0], network.bn.running_var[0] = 0, 1e-12
    folded, twin = folded_norms(network), build(seed=9)
    assert folded["bn.weight"][0] == 0
    assert folded["bn.weight"].abs().max() < 20
    twin.load_state_dict({**network.state_dict(), **folded})
    assert torch.allclose(twin.eval()(_images()), network(_images()), atol=1e-5)


def test_a_norm_of_which_a_method_codes_a_part_is_not_folded(network):
    assert folded_norms(network, {"bn.weight"}) == {}


def test_a_norm_under_two_names_is_folded_under_both():
    norm = nn.BatchNorm1d(3)
    both = nn.Sequential(norm, nn.ReLU(), norm)
    assert set(folded_norms(both)) == {f"{at}.{part}" for at in (0, 2) for part in _PARTS}


def test_a_norm_that_saw_nothing_keeps_what_it_has(network, build):
    network.spare = nn.BatchNorm1d(2)
    before = {name: value.clone() for name, value in network.spare.state_dict().items()}
    unfold(network, [])
    assert all(torch.equal(value, before[name]) for name, value in network.spare.state_dict().items())


def test_an_untrained_network_is_not_taken_for_a_folded_one(build):
    fresh = build()
    fresh.bn.reset_running_stats()
    assert not is_folded(fresh)


def test_channels_that_came_back_as_zeros_hide_no_folded_norm(network, build):
    state = network.state_dict() | folded_norms(network)
    for part in _PARTS:
        state[f"bn.{part}"][0] = 0
    twin = build()
    twin.load_state_dict(state)
    assert is_folded(twin)
