"""What is trained: networks, whole-tensor data sets, losses, and the one evaluation loop."""

from tasks.batches import Part
from tasks.data import Arrays, Data, Source
from tasks.errors import DataMissing, TaskError
from tasks.evaluate import evaluate
from tasks.task import Task, TaskSpec, load, open_task

__all__ = [
    "Arrays",
    "Data",
    "DataMissing",
    "Part",
    "Source",
    "Task",
    "TaskError",
    "TaskSpec",
    "evaluate",
    "load",
    "open_task",
]
