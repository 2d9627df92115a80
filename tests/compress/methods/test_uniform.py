import numpy as np
import pytest

from compress.method import KnobError
from compress.methods.uniform import Uniform


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
def test_bitwidth_sets_bits_and_levels(bits, build, no_batches):
    model, method = build(), Uniform(bitwidth=bits)
    method.prepare(model, no_batches)
    for symbols in method.symbols(model):
        assert symbols.bits == bits
        peak = np.abs(symbols.index).max()
        assert 0.99 * (2 ** (bits - 1) - 1) <= peak <= 2 ** (bits - 1) - 1


def test_the_quantizer_adds_no_parameter(build, no_batches):
    model = build()
    count = sum(p.numel() for p in model.parameters())
    Uniform().prepare(model, no_batches)
    assert sum(p.numel() for p in model.parameters()) == count
    assert list(Uniform().parameter_groups(model)) == ["base"]


@pytest.mark.parametrize("value", [1, 0, 17, -4, float("nan"), 4.5])
def test_bitwidth_is_a_whole_number_from_2_to_16(value):
    with pytest.raises(KnobError, match=rf"^bitwidth = {value}: must be a whole number from 2 to 16$"):
        Uniform(bitwidth=value)
