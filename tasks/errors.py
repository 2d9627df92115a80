"""What a user can get wrong about a task."""

__all__ = ["DataMissing", "TaskError"]


class TaskError(ValueError):
    """A network, data set or start that cannot be used; the message names the thing, its value and the rule."""


class DataMissing(TaskError):
    """A data set that is neither on disk nor to be downloaded; the message says what to do."""
