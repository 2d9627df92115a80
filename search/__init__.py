"""How trials are chosen, stopped, recorded and shown: the only room that writes Optuna's studies and MLflow's runs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from search.folder import StudyError, StudyFolder

if TYPE_CHECKING:
    from search.front import Front, Member
    from search.study import Settings, run

__all__ = ["Front", "Member", "Settings", "StudyError", "StudyFolder", "run"]

_HOMES = {"Front": "search.front", "Member": "search.front", "Settings": "search.study", "run": "search.study"}


def __getattr__(name: str) -> Any:
    """Ray, Optuna and MLflow are imported when they are first needed: a study's folder is taken before."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
