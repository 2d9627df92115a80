"""The import arrows of docs/architecture.md, and the size of things."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("tuner", "search", "search_spaces", "trainables", "tasks", "compress", "analysis")
MAY_IMPORT = {
    "tuner": {"search", "search_spaces", "analysis", "trainables", "tasks", "compress"},
    "search": {"search_spaces", "trainables", "tasks", "compress", "analysis.pareto", "analysis.plots"},
    "trainables": {"tasks", "compress"},
    "search_spaces": {"compress", "tasks", "analysis.quantities"},
    "tasks": {"compress"},
    "compress": set(),
    "analysis": {"tasks", "compress"},
}
STRANGERS = {
    "compress": {"ray", "optuna", "mlflow", "yaml"},
    "tasks": {"ray", "optuna", "mlflow", "yaml"},
    "trainables": {"optuna", "mlflow", "yaml"},
    "search_spaces": {"ray", "optuna", "mlflow"},
    "analysis": {"ray"},
}


def files(room: str) -> list[Path]:
    return [ROOT / "tuner.py"] if room == "tuner" else sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of every module imported anywhere in a file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_arrows(room):
    for path in files(room):
        for name in imported(path):
            top = name.partition(".")[0]
            if top in ROOMS and top != room:
                assert any(f"{name}.".startswith(f"{allowed}.") for allowed in MAY_IMPORT[room]), f"{path.name}: {name}"
            assert top not in STRANGERS.get(room, set()), f"{path.name}: {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_in_all_exists_and_files_are_short(room):
    for path in files(room):
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) <= 300, path
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                public = ast.literal_eval(node.value)
                assert len(public) <= 12 if path.name == "__init__.py" else len(public) <= 8, path
                defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
                defined |= {
                    t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
                }
                defined |= {
                    n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
                }
                defined |= {
                    a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names
                }
                assert set(public) <= defined, path


def test_no_second_list_of_methods():
    words = {path.stem for path in (ROOT / "compress/methods").glob("[a-z]*.py")}
    for room in ROOMS:
        for path in files(room):
            named = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)} & words
            assert len(named) <= 2, f"{path.relative_to(ROOT)} names the methods {sorted(named)}"
