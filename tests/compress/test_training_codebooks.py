import math

import pytest
import torch
from torch import nn

from compress.channel import Link
from compress.codebooks import Shape, attach
from compress.training_codebooks import (
    TrainingCodebook,
    conditional_entropy,
    marginal_entropy,
    sampled,
    sharpened,
    streamed,
    working,
)


def _layer(size=6, width=3, entropy="marginal", modulation="none", scores="dot"):
    torch.manual_seed(0)
    layer = TrainingCodebook(Shape(size, width, 3), Link(modulation, 20.0), scores, 0, entropy, 0.5)
    with torch.no_grad():
        layer.embedding.normal_()
    return layer


@pytest.mark.parametrize(
    ("entropy", "function"), [("marginal", marginal_entropy), ("conditional", conditional_entropy)]
)
def test_entropies_and_their_gradients_are_right(entropy, function):
    scores = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: function(a.softmax(1)), scores)
    p = scores.detach().softmax(1).numpy()
    by_hand = {
        "marginal": -sum(q * math.log(q) for q in p.mean(0)),
        "conditional": -sum(q * math.log(q) for row in p for q in row) / 5,
    }
    assert float(function(scores.detach().softmax(1))) == pytest.approx(by_hand[entropy])


@pytest.mark.parametrize("entropy", ["marginal", "conditional"])
@pytest.mark.parametrize("scores", ["dot", "distance"])
def test_the_entropy_term_reaches_codewords_and_the_head_in_proportion_to_beta(entropy, scores):
    gradients = {}
    for beta in (0.0, 1.0, 2.0):
        layer = _layer(entropy=entropy, scores=scores)
        x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)
        layer.beta.fill_(beta)
        layer(x)
        layer.penalty().backward()
        gradients[beta] = torch.cat([layer.embedding.grad.flatten(), x.grad.flatten()])
    assert not gradients[0.0].any()
    assert float(gradients[1.0].abs().min()) > 0 or float(gradients[1.0].norm()) > 1e-3
    assert torch.allclose(gradients[2.0], 2 * gradients[1.0], rtol=1e-5)


@pytest.mark.parametrize("entropy", ["marginal", "conditional"])
def test_the_gradient_is_the_slope(entropy):
    """Finite differences of β H through the whole layer, in one codeword's numbers."""
    layer = _layer(entropy=entropy).double()
    layer.beta.fill_(1.5)
    x = torch.randn(8, 3, 2, 2, dtype=torch.float64)

    def term():
        layer(x)
        return layer.penalty()

    term().backward()
    for place in ((0, 0), (3, 2), (5, 1)):
        held = layer.embedding.data[place].item()
        values = []
        for step in (1e-5, -1e-5):
            layer.embedding.data[place] = held + step
            values.append(float(term().detach()))
        layer.embedding.data[place] = held
        assert float(layer.embedding.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_a_penalty_is_asked_for_once_and_zero_without_a_pass():
    layer = _layer()
    layer.beta.fill_(1.0)
    assert float(layer.penalty().detach()) == 0
    layer(torch.randn(2, 3, 2, 2))
    assert float(layer.penalty().detach()) > 0
    assert float(layer.penalty().detach()) == 0
    layer.eval()(torch.randn(2, 3, 2, 2))
    assert float(layer.penalty().detach()) == 0, "evaluation leaves nothing behind"


def test_training_draws_and_evaluation_does_not():
    layer, x = _layer(), torch.randn(2, 3, 8, 8)
    torch.manual_seed(3)
    one, two = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), one)
    assert not torch.equal(one, two)
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_k_means_start_puts_codewords_where_vectors_are():
    means = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4], [4, 4, 0], [0, 4, 4], [4, 0, 4]])
    vectors = (means[:, None] + 0.1 * torch.randn(6, 300, 3, generator=torch.Generator().manual_seed(0))).reshape(-1, 3)
    layer = _layer(scores="distance")
    layer.start(vectors, torch.Generator().manual_seed(0), 0.2)
    assert float(torch.cdist(means, layer.embedding.detach()).min(1).values.max()) < 0.1
    assert layer.used.tolist() == pytest.approx([1 / 6] * 6, abs=0.01)
    soft = layer.score(vectors).detach().softmax(1)
    assert float(conditional_entropy(soft)) == pytest.approx(0.2, abs=0.01)


def test_a_projection_starts_along_the_principal_axes():
    layer = TrainingCodebook(Shape(5, 2, 4), Link("none"), "distance", 0, "marginal", 0.5)
    source = torch.Generator().manual_seed(0)
    flat = torch.randn(500, 2, generator=source) @ torch.randn(2, 4, generator=source) + 1
    layer.start(flat, source)
    assert torch.allclose(layer.decode(layer.encode(flat)), flat, atol=1e-3)


def test_sharpness_changes_no_argmax_and_is_found():
    scores = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    factor = sharpened(scores, 0.5)
    assert float(conditional_entropy((scores * factor).softmax(1))) == pytest.approx(0.5, abs=1e-3)
    assert torch.equal((scores * factor).argmax(1), scores.argmax(1))


# pruning


def test_pruning_drops_what_is_rare_and_nothing_moves():
    layer = _layer()
    before = layer.embedding.detach().clone()
    layer.prune(4, [torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([2, 3, 3, 5])])
    assert layer.alive.tolist() == [True, True, True, True, False, False]
    assert torch.equal(layer.embedding.detach(), before)
    assert layer.live == 4
    assert sorted(layer.order.tolist()) == list(range(6))
    assert sorted(layer.shipped_rows().tolist()) == [0, 1, 2, 3]
    layer.prune(2, [torch.tensor([4, 4, 4, 4, 3, 3, 1])])
    assert layer.alive.tolist() == [False, True, False, True, False, False], (
        "who is dead stays dead, however often named"
    )


def test_the_dead_are_neither_sent_nor_received():
    layer = _layer(modulation="psk")
    layer.link = Link("psk", -10.0)
    layer.prune(3, [torch.tensor([1, 3, 5])])
    x = torch.randn(20, 3, 8, 8)
    living = layer.embedding[layer.alive].detach()
    for layer.training in (True, False):
        rows = layer(x).detach().movedim(1, -1).reshape(-1, 3)
        assert float(torch.cdist(rows, living).min(1).values.max()) < 1e-6
    assert layer.link.PSNR == -10.0, "the channel is kept"


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_pruned_codebook_keeps_learning_and_keeps_its_moments(name):
    layer, x, target = _layer(), torch.randn(16, 3, 4, 4), torch.randn(16, 3, 4, 4)
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(layer.parameters(), lr=0.05, **options)

    def step():
        torch.manual_seed(0)
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    for _ in range(3):
        step()
    moments = {k: v.clone() for k, v in optimizer.state[layer.embedding].items() if torch.is_tensor(v) and v.dim()}
    assert moments
    layer.prune(4, [torch.tensor([0, 1, 2, 3])])
    state = optimizer.state[layer.embedding]
    assert all(torch.equal(state[k], v) for k, v in moments.items())
    before, held = layer.embedding.detach().clone(), step()
    for _ in range(30):
        step()
    assert step() < 0.98 * held
    assert bool((layer.embedding.detach() != before)[layer.alive].all())


def test_pruning_is_in_the_state():
    layer, other = _layer(modulation="psk"), _layer(modulation="psk")
    layer.prune(3, [torch.tensor([1, 3, 5])])
    other.load_state_dict(layer.state_dict())
    x = torch.randn(4, 3, 4, 4)
    assert other.live == 3
    assert torch.equal(other.eval()(x), layer.eval()(x))


def test_places_by_use():
    layer = _layer()
    with torch.no_grad():
        layer.used.copy_(torch.tensor([0.1, 0.4, 0.05, 0.2, 0.0, 0.25]))
    places = layer.by_use()
    assert layer.order[places].tolist() == [1, 5, 3, 0, 2, 4]


# in a network


def test_activations_are_streamed_in_evaluation_mode():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    attach(network, "1", _layer())
    network.train()
    state = {n: v.clone() for n, v in network.state_dict().items()}
    batches = [torch.randn(4, 1, 2, 2) for _ in range(5)]
    found = list(streamed(network, 0, "vectors", iter(batches), 10))
    assert [len(v) for v in found] == [16, 16, 8], "so many images and no more"
    rows = torch.cat(list(streamed(network, 0, "rows", iter(batches), 99)))
    assert rows.shape == (80,)
    assert network.training
    assert all(torch.equal(v, state[n]) for n, v in network.state_dict().items()), "no statistic has moved"


def test_another_codebook_works_for_a_while():
    network = nn.Sequential(nn.Conv2d(1, 3, 1))
    layer = _layer()
    attach(network, "0", layer)
    with working(network, None):
        assert not layer.active
    assert layer.active


def test_a_start_takes_a_sample_that_a_seed_draws(monkeypatch):
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12 * 256, 2))
    attach(network, "0", _layer())
    batches = [torch.randn(4, 1, 32, 32) for _ in range(4)]

    def drawn(images, seed=0):
        return sampled(network, 0, iter(batches), images, torch.Generator().manual_seed(seed))

    some = drawn(10)
    assert some.shape == (64 * 10, 3)
    assert torch.equal(some, drawn(10))
    assert not torch.equal(some, drawn(10, seed=1))
    everything = torch.cat(list(streamed(network, 0, "vectors", iter(batches), 10)))
    assert set(map(tuple, some.tolist())) <= set(map(tuple, everything.tolist()))
    monkeypatch.setattr("compress.training_codebooks._MOST", 40)
    assert drawn(10).shape == (40, 3)
    assert drawn(99).shape == (16, 3), "so many pictures as there are, one vector each"


def test_scores_are_exact_where_the_rest_is_rounded():
    layer = _layer(scores="distance")
    z = torch.randn(500, 3, generator=torch.Generator().manual_seed(2)) + 8
    with torch.autocast("cpu", torch.bfloat16):
        assert (z @ z.t()).dtype == torch.bfloat16
        rounded = layer.score(z)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, layer.score(z))
