import numpy as np
import pytest
import torch

from compress.indexed import IndexedAdd, Select

FORMATS = [torch.contiguous_format, torch.channels_last]


def pictures(channels, memory_format):
    return torch.randn(2, channels, 5, 3).contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("index", "into"), [([4, 0, 1], None), ([4, 0, 1, 2, 6], 7)])
def test_select_keeps_the_memory_format(index, into, memory_format):
    x = pictures(5, memory_format)
    found = Select(np.array(index), into)(x)
    expected = x[:, index] if into is None else torch.zeros(2, into, 5, 3).index_copy(1, torch.tensor(index), x)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
@pytest.mark.parametrize(("left", "right"), [(None, [1, 3]), ([3, 0], None), ([2, 0, 4], [0, 3])])
def test_an_indexed_add_keeps_the_memory_format(left, right, memory_format, other):
    a = pictures(5 if left is None else len(left), memory_format)
    b = pictures(5 if right is None else len(right), memory_format if left is None else other)
    a = a if right is not None else pictures(a.shape[1], other)
    b = b if right is not None else pictures(5, memory_format)
    parts = [None if p is None else np.array(p) for p in (left, right)]
    whole = [x if p is None else Select(p, 5)(x) for x, p in zip((a, b), parts, strict=True)]
    found = IndexedAdd(*parts, 5)(a, b)
    torch.testing.assert_close(found, whole[0] + whole[1])
    assert found.is_contiguous(memory_format=memory_format)


def test_vectors_have_channels_too():
    x = torch.arange(6.0).reshape(2, 3)
    assert Select(np.array([2, 0]))(x).tolist() == [[2, 0], [5, 3]]
    assert IndexedAdd(None, np.array([1]), 3)(x, torch.ones(2, 1)).tolist() == [[0, 2, 2], [3, 5, 5]]
