import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.surrogates import deadzone_through, round_through, straight_through

floats = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20)


def test_straight_through_returns_hard_exactly_where_the_sum_trick_does_not():
    hard, soft = torch.tensor([1e-3]), torch.tensor([1e8], requires_grad=True)
    assert (soft + (hard - soft).detach()).item() != hard.item()
    assert torch.equal(straight_through(hard, soft), hard)


def test_straight_through_gives_the_gradient_of_soft_and_none_to_hard():
    hard = torch.tensor([1.0, 2.0], requires_grad=True)
    x = torch.tensor([3.0, -4.0], requires_grad=True)
    straight_through(hard * 5, x.square()).backward(torch.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [6.0, -80.0]
    assert hard.grad is None


def test_straight_through_does_not_write_to_hard():
    hard, soft = torch.ones(3), torch.zeros(3, requires_grad=True)
    (straight_through(hard, soft) * 2).sum().backward()
    assert hard.tolist() == [1.0, 1.0, 1.0]


@given(floats)
def test_round_through_rounds_as_numpy_does(values):
    x = np.array(values, dtype=np.float32)
    assert np.array_equal(round_through(torch.from_numpy(x)).numpy(), np.rint(x))


def test_round_through_rounds_ties_to_even():
    assert round_through(torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5])).tolist() == [-2.0, 0.0, 0.0, 2.0, 2.0]


@given(floats)
def test_round_through_passes_every_gradient(values):
    x = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    upstream = torch.arange(1.0, len(values) + 1)
    round_through(x).backward(upstream)
    assert torch.equal(x.grad, upstream)


@given(
    st.integers(0, 10_000),
    st.floats(0.05, 0.5),
    st.floats(-0.2, 0.8),
    st.integers(1, 7),
    st.sampled_from([(), (6, 1, 1)]),
)
def test_deadzone_through_has_the_gradients_of_the_plain_graph(seed, step, shift, bound, shape):
    """The same straight-through expression written out, differentiated by autograd."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(6, 5, 3, generator=draw, dtype=torch.float64)
    w[0, 0, 0] = 0
    upstream = torch.randn(6, 5, 3, generator=draw, dtype=torch.float64)
    made = []
    for closed in (True, False):
        soft = w.clone().requires_grad_()
        s = torch.full(shape, step, dtype=torch.float64, requires_grad=True)
        delta = torch.full(shape, shift, dtype=torch.float64, requires_grad=True)
        if closed:
            hard, q = deadzone_through(soft, s, delta, torch.tensor(float(bound)))
        else:
            magnitude = soft.abs() - delta
            x = soft.sign() * straight_through(magnitude.relu(), magnitude) / s
            q = straight_through(x.round().clamp(-bound, bound), x)
            hard = s * q + delta * q.detach().sign()
        hard.backward(upstream)
        made.append([hard.detach(), q.detach(), soft.grad, s.grad, delta.grad])
    for ours, plain in zip(*made, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-9, atol=1e-12)
