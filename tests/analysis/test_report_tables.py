from __future__ import annotations

import numpy as np
import pytest

from analysis.figures import series_of
from analysis.report_tables import Made, made_of, study_tiles, trial_rows, trial_table
from tests.analysis.recorded import record_of


def tile(record, about=None):
    return study_tiles([record], series_of([record]), [Made(about or {})])[0]


def test_a_trial_is_a_row_with_its_last_network():
    table = trial_table(series_of([record_of()]))
    row = table.loc["0:t6"]
    assert (row["trial"], row["method"], row["end"], row["epochs"], row["on front"]) == ("t6", "deadzone", "done", 3, 1)
    assert row["size in kB"] == 4.0
    assert row["accuracy in %"] == pytest.approx(90.15)
    assert (row["bits"], row["kind"]) == (8, "a")
    assert table.loc["0:t11", "reason"] == "loss is nan"
    assert table["study"].isna().all()


def test_knobs_of_several_methods_share_a_table():
    plain = record_of("b", ("uniform",))
    lines = series_of(
        [record_of("a"), record_of("b", ("uniform",), trials=plain.trials.rename(columns={"bits": "bitwidth"}))]
    )
    columns, rows = trial_rows(lines)
    names = [column["name"] for column in columns]
    assert names[:3] == ["trial", "method", "study"]
    assert names[-1] == "reason"
    place = names.index("bitwidth")
    assert [row["cells"][place]["value"] for row in rows[:12]] == [""] * 12
    assert rows[12]["cells"][place] == {"text": "2", "value": "2.0", "number": True}
    assert {row["cells"][2]["text"] for row in rows} == {"a", "b"}
    assert [column["number"] for column in columns if column["name"] in ("kind", "bits")] == [True, False]


def test_points_of_a_column_stand_below_each_other():
    columns, rows = trial_rows(series_of([record_of()]))
    for place, column in enumerate(columns):
        texts = [row["cells"][place]["text"] for row in rows]
        if column["number"]:
            assert len({len(text.partition(".")[2]) for text in texts}) == 1


def test_a_trial_without_a_network_has_empty_cells():
    plain = record_of()
    lines = series_of([record_of(epochs=plain.epochs[plain.epochs["trial_id"] != "t11"])])
    columns, rows = trial_rows(lines)
    place = [column["name"] for column in columns].index("accuracy in %")
    assert rows[11]["cells"][place] == {"text": "–", "value": "", "number": True}


def test_a_study_comes_to_these_numbers():
    numbers = dict(tile(record_of())["numbers"])
    assert numbers["trials, 1 failed"] == "12"
    assert numbers["epochs spent"] == "34"
    assert numbers["networks on the front"] == "19"
    assert numbers["most accurate"] == "93.15 %"
    assert "smallest within 1 point" not in numbers
    dense = {"accuracy": 0.93, "size": 80_000.0, "rate": 32.0, "gops": 0.01}
    assert dict(tile(record_of(dense=dense))["numbers"])["smallest within 1 point"] == "14 kB, 5.7×"


def test_a_study_without_a_front_has_a_tile():
    plain = record_of()
    numbers = dict(tile(record_of(front=plain.front.head(0), epochs=plain.epochs.assign(accuracy=np.nan)))["numbers"])
    assert numbers["networks on the front"] == "0"


def test_how_it_was_made_hides_what_a_command_should_not_have_held():
    about = {
        "command": "tuner.py --tracking-uri https://me:secret@server/x",
        "versions": {"torch": "2.6"},
        "began": "then",
    }
    made = dict(tile(record_of(), about)["made"])
    assert made["command"] == "tuner.py --tracking-uri https://server/x"
    assert made["versions"] == "torch 2.6"
    assert made["dense network"] == "mlp: 95.00 %, 94.00 % on test data; 20,000 weights, 80 kB, 0.01 GOps; trained here"
    assert (made["commit"], made["MLflow run"], made["split"].split(":")[0]) == ("abc", "run-first", "holdout-300")


def test_tags_stand_in_for_a_study_file_that_is_not_there():
    assert dict(tile(record_of())["made"])["versions"] == "torch 2.6"
    assert [made_of(text).about for text in (None, "", "a: [", "- 1")] == [{}] * 4
    assert made_of("command: x").about == {"command": "x"}
