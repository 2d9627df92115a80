"""Optuna's evaluator finds the knobs that were made to decide."""

from __future__ import annotations

import numpy as np
import optuna
import pandas as pd
import pytest

from analysis.importance import LEAST, importance
from tests.analysis.recorded import record_of


def ruled(count=60, **columns):
    """One network a trial: ``loss`` lowers accuracy and raises the rate; ``small`` accuracy alone, in small networks alone."""
    random = np.random.default_rng(1)
    names = [f"t{i}" for i in range(count)]
    trials = pd.DataFrame({"method": "deadzone", "seed": 0, "end": "done", "reason": "", "epochs": 1}, index=names)
    trials.index.name = "trial_id"
    trials = trials.assign(
        loss=random.uniform(0, 1, count), small=random.uniform(0, 1, count), idle=random.uniform(0, 1, count)
    )
    trials = trials.assign(**columns)
    low = np.arange(count) % 2 == 0
    accuracy = 0.9 - 0.1 * trials["loss"] - np.where(low, 0.5 * trials["small"], 0)
    rate = np.where(low, 0.5, 4.0) + trials["loss"]
    epochs = pd.DataFrame({"trial_id": names, "epoch": 1, "accuracy": accuracy.to_numpy(), "rate": np.asarray(rate)})
    epochs = epochs.assign(size=epochs["rate"] * 20_000 / 8)
    front = (
        epochs.sort_values("size")
        .iloc[[0, count // 2 - 2, count // 2 - 1, count // 2 + 1]]
        .assign(test_accuracy=np.nan)
    )
    return record_of(trials=trials, epochs=epochs, front=front)


def test_the_knob_that_decides_leads_and_shares_add_up():
    found = importance(ruled())
    assert found.shares.index[0] == "loss"
    assert found.shares["front"].sum() == pytest.approx(1)
    assert found.shares["small"].sum() == pytest.approx(1)
    assert set(found.shares.index) == {"loss", "small", "idle"}
    assert (found.trials, found.cost) == (60, "size")


def test_the_small_end_has_its_own_order():
    shares = importance(ruled()).shares
    assert shares["small"].idxmax() == "small"
    assert shares.loc["small", "small"] > shares.loc["small", "front"]


def test_the_same_record_gives_the_same_shares():
    pd.testing.assert_frame_equal(importance(ruled()).shares, importance(ruled()).shares)


def test_failed_trials_and_fixed_knobs_do_not_count():
    plain = ruled()
    trials = plain.trials.assign(fixed=3.0, end=["failed"] * 5 + ["stopped"] * 5 + ["done"] * 50)
    found = importance(record_of(trials=trials, epochs=plain.epochs, front=plain.front))
    assert found.trials == 55
    assert "fixed" not in found.shares.index


def test_choices_whole_numbers_and_knobs_of_one_method_take_part():
    count = 60
    method = ["deadzone", "epr"] * (count // 2)
    own = [float(i % 7) if name == "epr" else np.nan for i, name in enumerate(method)]
    shares = importance(ruled(count, method=method, own=own, kind=["a", "b", "c"] * 20, flag=[True, False] * 30)).shares
    assert {"method", "own", "kind", "flag"} <= set(shares.index)
    assert np.isfinite(shares.to_numpy()).all()


def test_few_trials_one_value_or_no_front_say_nothing():
    assert importance(ruled(LEAST - 1)) is None
    plain = ruled()
    assert importance(record_of(trials=plain.trials, epochs=plain.epochs, front=plain.front.head(0))) is None
    same = plain.trials.assign(loss=1, small=1, idle=1)
    assert importance(record_of(trials=same, epochs=plain.epochs, front=plain.front)) is None


def test_where_no_trial_ends_small_there_is_no_small_end():
    plain = ruled()
    front = plain.front.assign(size=1.0)
    found = importance(record_of(trials=plain.trials, epochs=plain.epochs, front=front))
    assert list(found.shares) == ["front"]


def test_nothing_is_said_on_the_terminal(capfd):
    importance(ruled())
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() >= optuna.logging.WARNING
