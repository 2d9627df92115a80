import pytest

from compress.methods import method_class
from compress.methods.baseline import Baseline
from compress.methods.deadzone import Deadzone
from compress.methods.uniform import Uniform


@pytest.mark.parametrize(("word", "kind"), [("baseline", Baseline), ("uniform", Uniform), ("deadzone", Deadzone)])
def test_a_word_is_the_address_of_its_method(word, kind):
    assert method_class(word) is kind


@pytest.mark.parametrize("word", ["nothing", "quantized", "Uniform"])
def test_a_word_without_a_file_is_no_module(word):
    with pytest.raises(ModuleNotFoundError, match=word):
        method_class(word)


@pytest.mark.parametrize("word", ["uniform", "deadzone"])
def test_the_values_of_the_main_knob_are_allowed(word):
    kind = method_class(word)
    for value in kind.main_knob.values:
        assert getattr(kind(**{kind.main_knob.name: value}), kind.main_knob.name) == value
