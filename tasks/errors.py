"""What a user can get wrong about a task."""

__all__ = ["DataMissing", "TaskError"]


class TaskError(ValueError):
    """A network, data set or start that cannot be used; one line names the thing, its value and the rule."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class DataMissing(TaskError):
    """A data set that is neither on disk nor to be downloaded; the message says what to do."""
