import pytest

from tasks.errors import DataMissing, TaskError


@pytest.mark.parametrize("kind", [TaskError, DataMissing])
def test_an_error_is_one_line_whatever_it_quotes(kind):
    assert str(kind("data = 'x': broken\n  at byte 3\u2028here")) == "data = 'x': broken at byte 3 here"


def test_missing_data_is_a_mistake_of_the_task():
    assert issubclass(DataMissing, TaskError)
    assert issubclass(TaskError, ValueError)
