from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.front import Front, Member
from search.summary import front_table, next_steps, wrong

DENSE = {"accuracy": 0.9612, "test_accuracy": 0.95, "size": 75256, "gops": 3.72e-05}


def member(number, tested=True, **config):
    size = 20_000 - 100 * number
    metrics = {"accuracy": 0.95 - number / 1000, "rate": size / 2351.75, "size": size, "ratio": 75256 / size}
    metrics |= {"gops": 0.25, "rel_bops": 0.125}
    test = 0.94 - number / 1000 if tested else None
    artifact = f"artifacts/t{number}-e002.rf"
    return Member(
        trial_id=f"t{number % 3}", epoch=2, metrics=metrics, config=config, artifact=artifact, test_accuracy=test
    )


def front_of(members, dense=DENSE):
    about = {"trials": 7, "tracking": "sqlite:////results/mlflow.db"}
    return Front(members, {"accuracy": "max", "rate": "min"}, dense, Path("/results/study"), 0.1234, about=about)


def squeezed(line):
    return " ".join(line.split())


def test_the_table_begins_with_the_dense_network():
    lines = front_table(front_of([member(0, bits=8)])).splitlines()
    assert squeezed(lines[0]) == "accuracy test bits/w bytes smaller GOps relBOPs epoch bits"
    assert set(lines[1]) == {"-"}
    assert squeezed(lines[2]) == "96.12% 95.00% 32.000 75,256 1.0x 3.7e-05 100.0% dense -"
    assert squeezed(lines[3]) == "95.00% 94.00% 8.504 20,000 3.8x 0.250 12.5% 2 8"


def test_constraints_are_marked():
    front = front_of([member(0, bits=8), member(1, bits=8)])
    front = replace(front, about={**front.about, "constraints": {"max_size": 19_950.0, "min_accuracy": 0.9495}})
    rows = [line.split() for line in front_table(front).splitlines()]
    assert rows[0].index("breaks") == 8
    assert [row[8] for row in rows[2:]] == ["-", "size", "accuracy"]
    assert "0 of them keep max_size 19,950, min_accuracy 0.9495" in next_steps(front)


def test_columns_are_aligned():
    lines = front_table(front_of([member(0, bits=8), member(1, bits=16, decay=0.123456)])).splitlines()
    assert len(lines[3]) == len(lines[4]) == len(lines[0])


def test_what_is_not_known_is_a_dash():
    untested = {name: value for name, value in DENSE.items() if name != "test_accuracy"}
    lines = front_table(front_of([member(0, tested=False, a=None), member(1, tested=False, b=True)], untested))
    rows = [line.split() for line in lines.splitlines()]
    assert rows[2][1] == rows[3][1] == "-"
    assert rows[3][-2:] == ["-", "-"]
    assert rows[4][-2:] == ["-", "True"]


def test_knobs_are_the_first_four_and_numbers_are_short():
    (row,) = front_table(front_of([member(0, a=1, b=0.123456, c="x", d=True, e=5)])).splitlines()[3:]
    assert row.split()[-4:] == ["1", "0.123", "x", "True"]


@pytest.mark.parametrize(("count", "shown"), [(14, 14), (15, 14), (100, 14)])
def test_a_long_front_is_thinned_and_says_so(count, shown):
    lines = front_table(front_of([member(n) for n in range(count)])).splitlines()
    rows = [line for line in lines[3:] if "%" in line]
    assert len(rows) == shown
    assert rows[0].split()[3] == "20,000"
    assert rows[-1].split()[3] == f"{20_000 - 100 * (count - 1):,}"
    assert (f"(14 of {count} members; front.csv has all)" in lines) == (count > 14)


def test_next_steps_name_files_and_commands():
    text = next_steps(front_of([member(0), member(1), member(2)]))
    assert text.startswith("3 networks from 3 of 7 trials, hypervolume 0.123")
    assert "files    /results/study" in text
    assert "python -m compress info /results/study/artifacts/t2-e002.rf" in text  # the smallest
    assert "python -m analysis export /results/study 3\n" in text
    assert "python -m analysis verify /results/study\n" in text
    assert "mlflow ui --backend-store-uri sqlite:////results/mlflow.db" in text


def test_a_record_on_a_server_is_its_address():
    front = front_of([member(0)])
    served = replace(front, about={**front.about, "tracking": "http://tracking:5000"})
    assert next_steps(served).splitlines()[-1] == "record   http://tracking:5000"


def test_next_steps_of_an_empty_front_name_no_file():
    text = next_steps(front_of([]))
    assert text.startswith("0 networks from 0 of 7 trials")
    assert "python -m" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_narrow_terminal_gets_the_columns_that_it_holds(width):
    front = front_of([member(0, init_deadzone_logit=1.0, max_bits=8, **{"dz.weight_decay": 0.1}, learnable_bit=True)])
    *rows, last = front_table(front, width).splitlines()
    assert all(len(line) <= width for line in rows)
    if width < 200:
        assert last.startswith("(without ")
        assert "learnable_bit" in last
    else:
        assert "learnable_bit" in rows[0]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, ""),
        ({"interrupted": True}, "interrupted; above is what was reached, --resume study goes on"),
        ({"members": [], "about": {"trials": 0, "failed": 0}}, "no time for a trial"),
        ({"members": [], "about": {"trials": 2, "failed": 1}}, "no network is five points better than guessing"),
        ({"members": [], "about": {"trials": 2, "failed": 2}}, "all 2 trials failed; trials.csv says why"),
    ],
)
def test_what_is_not_as_it_was_asked_for(changes, line):
    assert wrong(replace(front_of([member(0)]), **changes)) == line
