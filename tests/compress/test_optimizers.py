import pytest
import torch
from torch import nn

from compress.method import KnobError
from compress.optimizers import GROUPS, OPTIMIZERS, Group, OptimizerKnobs, build_optimizer, set_learning_rate

THREE = GROUPS[:3]


def _groups():
    return {name: [nn.Parameter(torch.ones(size))] for size, name in enumerate(THREE, 1)}


def _knobs(**changes):
    given = {"base": Group(lr=0.1, weight_decay=0.01), "dz": Group(lr=0.02), "bit": Group()}
    return OptimizerKnobs(**{**given, **changes})


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_group_has_its_own_rate_and_decay(name):
    groups = _groups()
    optimizer = build_optimizer(_knobs(name=name), groups)
    rows = {row["group"]: row for row in optimizer.param_groups}
    assert isinstance(optimizer, OPTIMIZERS[name])
    assert list(rows) == ["base", "dz", "bit"]
    assert {n: row["lr"] for n, row in rows.items()} == {"base": 0.1, "dz": 0.02, "bit": 0.1}
    assert {n: row["initial_lr"] for n, row in rows.items()} == {"base": 0.1, "dz": 0.02, "bit": 0.1}
    assert {n: row["weight_decay"] for n, row in rows.items()} == {"base": 0.01, "dz": 0.0, "bit": 0.0}
    assert all(rows[n]["params"][0] is groups[n][0] for n in THREE)


def test_a_rate_of_zero_is_kept():
    optimizer = build_optimizer(_knobs(dz=Group(lr=0.0)), _groups())
    assert [row["lr"] for row in optimizer.param_groups] == [0.1, 0.0, 0.1]


def test_groups_without_parameters_are_left_out():
    optimizer = build_optimizer(_knobs(), {**_groups(), "dz": []})
    assert [row["group"] for row in optimizer.param_groups] == ["base", "bit"]


def test_sgd_has_momentum_by_group():
    knobs = _knobs(name="sgd", base=Group(lr=0.1, momentum=0.9), dz=Group(momentum=0.5))
    assert [row["momentum"] for row in build_optimizer(knobs, _groups()).param_groups] == [0.9, 0.5, 0.0]


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("group", GROUPS)
def test_only_sgd_has_momentum(name, group):
    with pytest.raises(KnobError, match=rf"optimizer\.{group}\.momentum = 0\.9: .*sgd"):
        _knobs(**{"name": name, group: Group(lr=0.1, momentum=0.9)})


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("group", ["dz", "bit"])
def test_decay_of_the_logits_needs_adamw(name, group):
    with pytest.raises(KnobError, match=rf"optimizer\.{group}\.weight_decay = 2\.5: .*adamw.*lambda_{group}"):
        _knobs(**{"name": name, group: Group(weight_decay=2.5)})


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_base_may_decay_with_every_optimizer(name):
    assert _knobs(name=name, base=Group(lr=0.1, weight_decay=0.5)).base.weight_decay == 0.5


def test_decay_of_the_dead_zone_is_decoupled():
    groups = _groups()
    optimizer = build_optimizer(_knobs(dz=Group(lr=0.02, weight_decay=2.5)), groups)
    for parameters in groups.values():
        parameters[0].grad = torch.zeros_like(parameters[0])
    optimizer.step()
    assert groups["dz"][0].tolist() == pytest.approx([1 - 0.02 * 2.5] * 2)
    assert groups["bit"][0].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "lion"}, "optimizer.name = 'lion': must be one of adamw, adam, sgd"),
        ({"schedule": "wave"}, "optimizer.schedule = 'wave': must be one of"),
        ({"base": Group()}, "optimizer.base.lr = None: must be given"),
        ({"base": Group(lr=-1.0)}, "optimizer.base.lr = -1.0: must be a finite number from 0"),
        ({"base": Group(lr=float("nan"))}, "optimizer.base.lr = nan: must be a finite number from 0"),
        ({"dz": Group(lr=float("inf"))}, "optimizer.dz.lr = inf: must be a finite number from 0"),
        ({"bit": Group(weight_decay=-0.1)}, "optimizer.bit.weight_decay = -0.1: must be a finite number from 0"),
        ({"milestones": (0.5, 1.0)}, "optimizer.milestones = [0.5, 1.0]: must lie in (0, 1)"),
        ({"milestones": (0, 0.5)}, "optimizer.milestones = [0, 0.5]: must lie in (0, 1)"),
        ({"milestones": (30, 60)}, "optimizer.milestones = [30, 60]: must lie in (0, 1)"),
    ],
)
def test_errors_name_knob_value_and_rule(changes, words):
    with pytest.raises(KnobError) as caught:
        _knobs(**changes)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("cosine", 0.0, 1.0),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0.0),
        ("constant", 0.7, 1.0),
        ("multistep", 0.3, 0.5),
        ("poly", 0.75, 0.0625),
    ],
)
def test_learning_rate_is_a_function_of_progress(schedule, progress, factor):
    knobs = _knobs(schedule=schedule, milestones=(0.2, 0.8), gamma=0.5, power=2.0)
    optimizer = build_optimizer(knobs, _groups())
    set_learning_rate(optimizer, knobs, 0.9)
    assert set_learning_rate(optimizer, knobs, progress) == pytest.approx(0.1 * factor, abs=1e-15)
    rates = [row["lr"] for row in optimizer.param_groups]
    assert rates == pytest.approx([0.1 * factor, 0.02 * factor, 0.1 * factor], abs=1e-15)


def test_starting_rates_survive_a_checkpoint():
    knobs = _knobs()
    optimizer = build_optimizer(knobs, _groups())
    set_learning_rate(optimizer, knobs, 0.8)
    restored = build_optimizer(knobs, _groups())
    restored.load_state_dict(optimizer.state_dict())
    set_learning_rate(restored, knobs, 0.0)
    assert [row["lr"] for row in restored.param_groups] == [0.1, 0.02, 0.1]


def test_from_plain_reads_nested_data():
    plain = {"name": "sgd", "base": {"lr": 0.1, "momentum": 0.9}, "dz": {"lr": 0.2}, "milestones": (0.3,)}
    knobs = OptimizerKnobs.from_plain(plain)
    assert knobs == OptimizerKnobs(
        name="sgd", base=Group(lr=0.1, momentum=0.9), dz=Group(lr=0.2), bit=Group(), milestones=(0.3,)
    )


def test_from_plain_of_nothing_is_the_defaults():
    assert OptimizerKnobs.from_plain({}) == OptimizerKnobs()
    assert OptimizerKnobs().base.lr == 1e-3


def test_a_method_may_bend_the_schedule():
    knobs = OptimizerKnobs(base=Group(lr=0.1), schedule="poly", power=1.0)
    optimizer = build_optimizer(knobs, {"base": [torch.nn.Parameter(torch.ones(1))]})
    rate = set_learning_rate(optimizer, knobs, 0.25, lambda progress, schedule: schedule(2 * progress) / 5)
    assert rate == pytest.approx(0.1 * 0.5 / 5)
