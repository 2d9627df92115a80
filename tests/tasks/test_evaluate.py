import pytest
import torch
from torch import nn

from tasks import Part, evaluate

CPU = torch.device("cpu")


@pytest.fixture
def part(make_data):
    data = make_data(train=64, holdout=10, classes=5, mean=(0.3, 0.4, 0.5), std=(0.2, 0.3, 0.4))
    return Part.of(data.train, data, CPU)


def naive_accuracy(network, part):
    """One picture at a time."""
    network.eval()
    right = 0
    with torch.no_grad():
        for image, label in zip(part.images, part.labels, strict=True):
            x = (image[None].float() / 255 - part.mean) / part.std
            right += int(network(x).argmax()) == int(label)
    return right / len(part.labels)


@pytest.mark.parametrize("batch_size", [1, 7, 54, 1000])
def test_it_is_the_share_that_a_naive_loop_finds(small_net, part, batch_size):
    accuracy = evaluate(small_net, part, batch_size)
    assert accuracy == naive_accuracy(small_net, part)
    assert 0 < accuracy < 1


def test_all_right_is_one_and_all_wrong_is_zero(part):
    class Knows(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.shift = shift

        def forward(self, x):
            number = (x[:, 0, 0, 0] * 0.2 + 0.3) * 255
            return nn.functional.one_hot((number.round().long() + self.shift) % 5, 5)

    assert evaluate(Knows(0), part) == 1.0
    assert evaluate(Knows(1), part) == 0.0


def test_the_network_is_left_in_evaluation_and_otherwise_untouched(small_net, part):
    small_net.train()
    before = {name: value.clone() for name, value in small_net.state_dict().items()}
    evaluate(small_net, part)
    assert not small_net.training
    assert all(torch.equal(value, before[name]) for name, value in small_net.state_dict().items())


class Watching(nn.Module):
    """Notes how it was run."""

    def __init__(self, fails=False):
        super().__init__()
        self.fails, self.flags = fails, None

    def forward(self, x):
        exact = not (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)
        self.flags = (exact, torch.is_inference_mode_enabled())
        if self.fails:
            raise ArithmeticError("broken")
        return x.flatten(1)


@pytest.fixture
def fast_mathematics():
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = held


@pytest.mark.usefixtures("fast_mathematics")
def test_tf32_is_off_while_it_runs_and_back_afterwards(part):
    network = Watching()
    evaluate(network, part)
    assert network.flags == (True, True)
    assert torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(ArithmeticError, match="broken"):
        evaluate(Watching(fails=True), part)
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
