import json

import pytest
import torch
from torch import nn

from tasks import Part, TaskError, evaluate
from tasks.evaluate import CONDITIONS, Evaluation, tally

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


def test_a_tally_is_the_count_behind_the_share(small_net, part):
    found = tally(small_net, part, 7)
    assert found.images == len(part) == 54
    assert found.accuracy == found.correct / 54 == evaluate(small_net, part, 7) == naive_accuracy(small_net, part)
    assert (found.device, found.dtype, found.batch_size) == ("cpu", "float32", 7)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_that_computed(small_net, part, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert tally(small_net, part).threads == threads
    finally:
        torch.set_num_threads(before)


class Strides(nn.Module):
    """Notes the memory formats of what it is fed, pictures of several channels."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, x):
        self.seen.add("contiguous" if x.is_contiguous() else "channels_last")
        return x.flatten(1)


@pytest.mark.parametrize("asked", [None, "channels_last", "contiguous"])
def test_the_memory_format_is_that_of_the_inputs(part, asked):
    network = Strides()
    found = tally(network, part, 9, asked)
    assert network.seen == {found.memory_format}
    assert found.memory_format == (asked or "channels_last")


@pytest.mark.parametrize("shape", [(1, 4, 4), (7,), (3, 5)])
def test_inputs_that_have_one_format_alone_are_contiguous(make_data, shape):
    data = make_data(shape=shape) if len(shape) == 3 else None
    images = torch.rand(20, *shape) if data is None else torch.from_numpy(data.validation.images)
    whole = Part(images, torch.zeros(len(images), dtype=torch.int64), torch.zeros(1), torch.ones(1))
    for asked in (None, "channels_last"):
        assert tally(nn.Flatten(), whole, memory_format=asked).memory_format == "contiguous"


def test_a_last_batch_of_one_does_not_tell_the_format(small_net, part):
    assert tally(small_net, part, 53).memory_format == "channels_last"


RECORD = {"correct": 9, "images": 10, "device": "cuda", "dtype": "float32", "batch_size": 100}
RECORD |= {"memory_format": "channels_last", "threads": 4}


def test_a_record_comes_back_from_plain_data(small_net, part):
    for made in (Evaluation(**RECORD), tally(small_net, part)):
        assert Evaluation.from_plain(json.loads(json.dumps(made.plain()))) == made
    assert Evaluation.from_plain({**RECORD, "more": 1}).accuracy == 0.9
    assert Evaluation.from_plain({**RECORD, "correct": 0}).accuracy == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "evaluation.threads = 0: must be a whole number from 1 to 1024"),
        ({"batch_size": 1.5}, "evaluation.batch_size = 1.5: must be a whole number"),
        ({"images": True}, "evaluation.images = True: must be a whole number"),
        ({"correct": -1}, "evaluation.correct = -1: must be a whole number"),
        ({"correct": 11}, "evaluation.correct = 11: must be at most images = 10"),
        ({"device": None}, "evaluation.device = None: must be a text"),
        ({"memory_format": "nhwc"}, "evaluation.memory_format = 'nhwc': must be contiguous or channels_last"),
    ],
)
def test_a_record_that_is_none_is_one_line(change, message):
    with pytest.raises(TaskError) as caught:
        Evaluation.from_plain({**RECORD, **change})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("plain", [None, {}, 3, [1]])
def test_no_record_at_all_is_one_line(plain):
    with pytest.raises(TaskError, match=r"^evaluation = .*: must say how the accuracy was counted$"):
        Evaluation.from_plain(plain)


def test_conditions_that_differ_are_named():
    one = Evaluation(**RECORD)
    assert one.differing(Evaluation(**{**RECORD, "correct": 1, "images": 2})) == []
    for name in CONDITIONS:
        value = 7 if isinstance(RECORD[name], int) else "contiguous" if name == "memory_format" else "other"
        assert one.differing(Evaluation(**{**RECORD, name: value})) == [name]
