"""How trials are chosen, stopped, recorded and shown: the only room that writes Optuna's studies and MLflow's runs."""

from search.front import Front, Member
from search.study import Settings, StudyError, run

__all__ = ["Front", "Member", "Settings", "StudyError", "run"]
