"""docs/originals.md names only what exists, with the defaults it has."""

import dataclasses
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import tuner
from compress.methods import method_class
from compress.optimizers import GROUPS, Group, OptimizerKnobs
from compress.penalties import PENALTIES, penalty_knobs
from search_spaces import available
from search_spaces.names import method_words
from search_spaces.sections import SpaceFile
from search_spaces.values import parse_value

PAGE = Path(__file__).parent.parent / "docs/originals.md"
NAME = re.compile(r"`([^`]+)`")
FLAGS = {word for action in tuner._parser()._actions for word in action.option_strings}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "there"]


ROWS = rows()


def default_of(name: str) -> Any:
    """LookupError for a name that leads nowhere."""
    head, _, rest = name.partition(".")
    if rest and head == "compress":
        return default_in_python(name)
    if rest and head in method_words():
        return method_class(head).knobs()[rest]
    if rest and head in PENALTIES:
        return penalty_knobs(head)[rest]
    if rest and head == "optimizer":
        group, _, knob = rest.partition(".")
        at = getattr(OptimizerKnobs(), group) if group in GROUPS else OptimizerKnobs()
        return {f.name: getattr(at, f.name) for f in dataclasses.fields(Group if group in GROUPS else OptimizerKnobs)}[
            knob or group
        ]
    kind: Any = SpaceFile
    for part in name.split("."):
        field = kind.model_fields[part]
        kind = field.annotation
    assert not (isinstance(kind, type) and issubclass(kind, BaseModel)), name
    return field.get_default(call_default_factory=True)


def default_in_python(name: str) -> Any:
    """Of ``package.module.thing``, or its argument ``package.module.thing.argument``."""
    _, module, thing, *argument = name.split(".")
    found = vars(import_module(f"compress.{module}"))[thing]
    return inspect.signature(found).parameters[argument[0]].default if argument else found


def test_the_page_has_rows_and_all_have_five_cells():
    assert len(ROWS) > 40
    assert [row for row in ROWS if len(row) != 5] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_key_exists_and_has_the_default_that_is_written(row):
    _, there, here, default, why = row
    names = NAME.findall(here)
    assert there, row
    assert names or why, "an argument that went needs its reason"
    for name in names:
        assert name in FLAGS if name.startswith("--") else default_of(name) is not NotImplemented
    if default:
        (value,), (name,) = NAME.findall(default), names
        written = parse_value(value)
        actual = default_of(name)
        assert (list(actual) if isinstance(actual, tuple) else actual) == written


def test_names_that_lead_nowhere_are_found_out():
    for wrong in ("deadzone.max_bit", "group_lasso.lamda", "task.networks", "optimizer.dz.rate", "bugdet"):
        with pytest.raises(LookupError):
            default_of(wrong)
    for wrong in ("compress.reparam.Decoders", "compress.reparam.AffineDecoder.m", "epr.lambda_rd"):
        with pytest.raises(LookupError):
            default_of(wrong)


def test_the_spaces_that_are_named_exist():
    named = {
        word
        for word in NAME.findall(PAGE.read_text())
        if re.fullmatch(r"(deadzone|baseline|uniform|epr|swd|slimming)_\w+|codebook_resnet\w+", word)
    }
    assert named
    assert named <= set(available()), yaml.safe_dump(sorted(named))
