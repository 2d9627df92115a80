"""How a study was made, as text and as tags: space, versions, commit, command, data really used."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from search_spaces import Space

__all__ = ["study_tags", "study_text", "versions"]

_PACKAGES = ("ratefront", "torch", "ray", "optuna", "mlflow", "numpy")


def versions() -> dict[str, str]:
    """Of Python and of the packages that make a result what it is."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str:
    """The commit of ratefront's own source, with ``+`` where it was changed since; empty outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
        dirty = subprocess.run(
            ["git", "diff", "--quiet", "HEAD"], cwd=here, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.returncode else "")


def study_text(space: Space, head: Mapping[str, str], found: Mapping[str, Any]) -> str:
    """``study.yaml``: the resolved space and how it is run; ``found`` is what is known only after the data were read."""
    about: dict[str, Any] = {"space": space.name, **head, "versions": versions()}
    about |= {"commit": commit(), **found, "resolved": space.resolved()}
    return yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=120)


def study_tags(space: Space) -> dict[str, str]:
    """Of the parent run."""
    tags = {
        "kind": "study",
        "space": space.name,
        "method": space.file.method,
        "network": space.task.network,
    }
    return {**tags, "commit": commit(), **{f"version.{name}": number for name, number in versions().items()}}
