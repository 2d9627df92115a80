import pytest

from tasks import TaskError
from tasks.factories import call_factory, import_factory, nearest

MODULE = """
number = 3

def build(classes, width=2):
    return classes, width
"""


def refused(function, *arguments):
    with pytest.raises(TaskError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_address_leads_to_its_callable(write_module):
    write_module("mine", MODULE)
    assert import_factory("network", "mine:build")(4) == (4, 2)


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("mine:biuld", "module 'mine' has no callable 'biuld'"),
        ("mine:number", "module 'mine' has no callable 'number'"),
        ("mine:", "module 'mine' has no callable ''"),
        ("nowhere.at.all:build", "module 'nowhere.at.all' cannot be imported (No module named 'nowhere')"),
        (":build", "module '' cannot be imported"),
        (".mine:build", "module '.mine' cannot be imported"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(write_module, address, rule):
    write_module("mine", MODULE)
    assert refused(import_factory, "network", address).startswith(f"network = {address!r}: {rule}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import absent_package", "No module named 'absent_package'"),
        ("def f(:\n", "invalid syntax"),
        ("raise RuntimeError('first\\nsecond')", "first second"),
    ],
)
def test_a_module_that_does_not_import_is_refused_with_its_reason(write_module, text, reason):
    write_module("broken", text)
    assert reason in refused(import_factory, "data", "broken:x")


def test_only_what_the_signature_names_is_offered():
    assert call_factory("f", lambda classes: classes, {"input_shape": (1,), "classes": 5}, {}) == 5
    assert call_factory("f", lambda: "nothing", {"classes": 5}, {}) == "nothing"


def test_what_is_given_wins_over_what_is_offered():
    assert call_factory("f", lambda classes: classes, {"classes": 5}, {"classes": 6}) == 6


def test_open_keywords_take_anything_given():
    assert call_factory("f", lambda **k: k, {"classes": 5}, {"depth": 2}) == {"depth": 2}


@pytest.mark.parametrize(
    ("factory", "given", "rule"),
    [
        (lambda width=1: 0, {"widht": 3}, "f: unknown argument 'widht'; did you mean 'width'?"),
        (lambda width: 0, {}, "f: missing a required argument: 'width'"),
        (lambda width, /: 0, {"width": 3}, "f: 'width' parameter is positional only"),
        (dict.fromkeys, {}, "f: missing a required argument: 'iterable'"),
        (getattr, {}, "f: "),
    ],
)
def test_a_signature_that_does_not_fit_is_refused(factory, given, rule):
    assert refused(call_factory, "f", factory, {"classes": 5}, given).startswith(rule)


def test_what_a_factory_itself_raises_is_not_hidden():
    def broken():
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        call_factory("f", broken, {}, {})


def test_the_nearest_word_or_all_of_them():
    assert nearest("resnet2", ["resnet20", "mlp"]) == "; did you mean 'resnet20'?"
    assert nearest("zzz", ["b", "a"]) == "; valid: a, b"
