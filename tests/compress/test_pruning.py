import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from compress.pruning import CRITERIA, Piece, Pruning, Site, least_count, mask_of, ranking, share_of

FEW = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # so that equals are common
SITES = st.lists(st.tuples(st.lists(FEW, min_size=1, max_size=9), st.booleans()), min_size=1, max_size=5)
RATES = st.floats(0, 1, exclude_max=True)


def _ranked(sites, criterion):
    scores = [torch.tensor(values) for values, _ in sites]
    return scores, ranking(scores, [spared for _, spared in sites], criterion)


@given(SITES, st.sampled_from(CRITERIA))
def test_a_ranking_names_every_entry_once_but_the_best_of_spared_sites(sites, criterion):
    scores, order = _ranked(sites, criterion)
    entries = sum(map(len, scores))
    assert len(set(order.tolist())) == len(order) == entries - sum(spared for _, spared in sites)
    left = ~mask_of(order, len(order), entries)
    for (values, spared), part in zip(sites, left.split([len(s) for s in scores]), strict=True):
        assert torch.tensor(values)[part].tolist() == ([max(values)] if spared else [])


@given(SITES, st.integers(0, 50))
def test_a_mask_has_the_number_asked_for_and_takes_nothing_better_than_it_leaves(sites, count):
    scores, order = _ranked(sites, "global")
    joined = torch.cat(scores)
    gone = mask_of(order, count, len(joined))
    assert gone.sum() == min(count, len(order))
    open_to_it = mask_of(order, len(order), len(joined))
    if gone.any() and (open_to_it & ~gone).any():
        assert joined[gone].max() <= joined[open_to_it & ~gone].min()
    assert torch.equal(gone, mask_of(order, torch.tensor(count), len(joined)))


@given(SITES, st.integers(0, 50))
def test_more_takes_what_less_took(sites, count):
    scores, order = _ranked(sites, "local")
    entries = sum(map(len, scores))
    assert not (mask_of(order, count, entries) & ~mask_of(order, count + 1, entries)).any()


@given(SITES, RATES, st.sampled_from(["local", "safe_local"]))
@example([([0.0], True)], 1 - 2**-52, "local")
def test_local_takes_the_same_share_of_every_site(sites, rate, criterion):
    scores, order = _ranked(sites, criterion)
    sizes = [len(s) for s in scores]
    gone = mask_of(order, share_of(rate, sizes, criterion), sum(sizes))
    for part, values, (_, spared) in zip(gone.split(sizes), scores, sites, strict=True):
        assert part.sum() == min(math.floor(rate * len(values) + 1e-9), len(values) - spared)
        if 0 < part.sum() < len(values):
            assert values[part].max() <= values[~part].min()


def test_of_equals_the_first_goes_first_whatever_their_number():
    scores = [torch.ones(5), torch.ones(3)]
    assert ranking(scores, [True, False], "global").tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert ranking(scores, [True, False], "local").tolist() == [0, 5, 1, 2, 6, 3, 7]


@pytest.mark.parametrize(
    ("rate", "sizes", "criterion", "count"),
    [
        (0.0, [10, 10], "global", 0),
        (0.29, [100], "global", 29),
        (0.25, [10, 10], "global", 5),
        (0.25, [10, 10], "local", 4),
        (0.25, [10, 10], "safe", 5),
        (0.999, [10, 10], "global", 19),
    ],
)
def test_the_number_that_a_rate_stands_for(rate, sizes, criterion, count):
    assert share_of(rate, sizes, criterion) == count


@given(st.integers(0, 40), st.integers(0, 60))
def test_the_least_number_that_is_enough_is_found(limit, least):
    asked = []

    def enough(count):
        asked.append(count)
        return count >= least

    assert least_count(limit, enough) == min(limit, least)
    assert len(asked) <= math.log2(limit + 1) + 1


def test_a_piece_fits_its_entries_to_a_tensor():
    entries = torch.tensor([1.0, 2.0])
    assert Piece("w", 0).fit(entries, torch.ones(2, 3, 3)).shape == (2, 1, 1)
    assert Piece("w", 1).fit(entries, torch.ones(3, 2, 3)).shape == (1, 2, 1)
    assert torch.equal(Piece("w", None).fit(torch.arange(6), torch.ones(2, 3)), torch.arange(6).reshape(2, 3))


def test_the_state_of_pruning_is_four_buffers():
    sites = [Site("a", 3, ()), Site("b", 2, ())]
    pruning = Pruning(sites, (3, 8, 8))
    assert {n: tuple(v.shape) for n, v in pruning.state_dict().items()} == {
        "gone": (5,),
        "count": (),
        "phase": (),
        "input_shape": (3,),
    }
    assert pruning.sizes == [3, 2]
    assert not pruning.gone.any()
