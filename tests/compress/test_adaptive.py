import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import adaptive, contexts
from compress.adaptive import HALF, ONE, Mixture, Trees, squash, stretch
from compress.ranged import Encoder, decoder_of, has_constriction

quick = settings(max_examples=60, deadline=None)
needs_constriction = pytest.mark.skipif(not has_constriction(), reason="no wheel for this platform")
REACH = 2815


class Listener:
    """A coder that keeps the chances it is given, and adds up what the bits would take."""

    def __init__(self):
        self.chances, self.bytes = [], 0.0

    def code(self, bits, chances):
        self.chances += (chances * ONE).tolist()
        self.bytes -= float(np.log2(np.where(bits, chances, 1 - chances)).sum()) / 8
        return bits


def _squash(x):
    return ONE / (1 + (-Decimal(x) / 256).exp())


def _stretch(k):
    return 256 * (Decimal(2 * k + 1) / Decimal(8191 - 2 * k)).ln()


def _log(m):
    return 16 * (Decimal(m) / 128).ln() / Decimal(2).ln()


TABLES = {
    "squash": (adaptive._SQUASH, _squash, range(-REACH, REACH + 1)),
    "stretch": (adaptive._STRETCH, _stretch, range(4096)),
    "log": (contexts._LOG, _log, range(128, 256)),
}


@pytest.mark.parametrize("name", TABLES)
def test_no_entry_of_a_table_depends_on_how_a_machine_rounds(name):
    """All entries are exactly rounded and farther from a half than any libm errs."""
    table, exact, places = TABLES[name]
    assert len(table) == len(places)
    with localcontext(prec=40):
        for entry, place in zip(table.tolist(), places, strict=True):
            distance = abs(exact(place) - entry)
            assert distance < Decimal("0.5") - Decimal("1e-7"), (name, place)


def test_squash_and_stretch_rise_and_undo_each_other():
    logits = np.arange(-REACH - 50, REACH + 51)
    squashed = np.array([squash(int(x)) for x in logits])
    stretched = stretch(np.arange(ONE))
    assert (np.diff(squashed) >= 0).all()
    assert (np.diff(stretched) >= 0).all()
    assert (squashed.min(), squashed.max(), squash(0)) == (1, ONE - 1, HALF)
    middle = np.abs(logits) < 4 * 256
    assert np.abs(stretch(squashed[middle]) - logits[middle]).max() <= 3
    chance = np.arange(ONE)  # half a step of 16, and half a logit of 1/256 where it is steepest
    assert np.abs(np.array([squash(int(x)) for x in stretch(chance)]) - chance).max() <= 8 + 32


def test_squash_is_odd_and_so_is_stretch():
    assert all(squash(x) + squash(-x) == ONE for x in range(-3000, 3000))
    assert np.array_equal(adaptive._STRETCH, -adaptive._STRETCH[::-1])


@st.composite
def batches(draw):
    """Sizes of contexts, and batches of bits with a context each."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    made = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ones = draw(st.sampled_from([0.0, 0.01, 0.5, 1.0]))
    counts = draw(st.lists(st.integers(0, 400), max_size=6))
    return sizes, [((made.random(n) < ones).astype(np.int64), [made.integers(0, s, n) for s in sizes]) for n in counts]


@needs_constriction
@quick
@given(batches(), st.integers(1, ONE - 1), st.sampled_from([0, 29_500, ONE]), st.booleans())
def test_a_mixture_that_decodes_learns_what_the_encoder_learnt(drawn, first, weight, plain):
    sizes, parts = drawn
    writer, coder = Mixture(sizes, weight, first), Encoder()
    for bits, context in parts:
        assert writer.code(coder, bits, context) is bits
    reader, coder = Mixture(sizes, weight, first), decoder_of(coder.words, plain)
    for bits, context in parts:
        assert reader.code(coder, None, context).tolist() == bits.tolist()
    assert coder.whole()
    assert reader.weights == writer.weights
    assert (reader.ones, reader.all) == (writer.ones, writer.all)
    assert all(np.array_equal(r, w) for r, w in zip(reader.seen, writer.seen, strict=True))


@quick
@given(batches())
def test_a_mixture_keeps_whole_numbers_and_chances_in_65536ths(drawn):
    sizes, parts = drawn
    mixture, listener = Mixture(sizes, 29_500), Listener()
    for bits, context in parts:
        mixture.code(listener, bits, context)
    assert all(type(number) is int for number in [*mixture.weights, mixture.ones, mixture.all])
    assert all(seen.dtype == np.int64 for seen in mixture.seen)
    assert all(chance == int(chance) and 1 <= chance < ONE for chance in listener.chances)


@pytest.mark.parametrize("first", [1, 300, HALF, 60_000])
def test_the_first_bits_have_the_chance_that_was_given(first):
    mixture, listener = Mixture([3], ONE, first), Listener()
    mixture.code(listener, np.ones(5, np.int64), [np.array([0, 1, 2, 0, 1])])
    assert len(set(listener.chances)) == 1
    assert math.isclose(listener.chances[0], first, rel_tol=0.02, abs_tol=16)


def test_the_chance_is_the_one_of_the_formula():
    """One context, one batch before: shares with their priors, their logits mixed in full, as real numbers."""
    mixture, listener = Mixture([2], ONE), Listener()
    context, bits = np.repeat([0, 1], 1000), np.concatenate([np.ones(100), np.zeros(900), np.ones(700), np.zeros(300)])
    mixture.code(listener, bits.astype(np.int64), [context])
    weight = mixture.weights[0] / ONE
    listener.chances.clear()
    mixture.code(listener, np.zeros(2, np.int64), [np.array([0, 1])])
    share = (800 + 16 * 0.5) / 2016
    for got, ones in zip(listener.chances, (100, 700), strict=True):
        logits = [math.log(p / (1 - p)) for p in (share, (ones + 4 * share) / 1004)]
        expected = 1 / (1 + math.exp(-logits[0] - weight * (logits[1] - logits[0])))
        assert abs(got / ONE - expected) < 0.005


def test_weights_move_to_the_context_that_predicts():
    draw = np.random.default_rng(0)
    mixture, price = Mixture([2, 2], ONE // 4), Listener()
    count = 0
    for _ in range(60):
        bits = draw.integers(0, 2, 1000)
        told = np.where(draw.random(1000) < 0.95, bits, 1 - bits)
        mixture.code(price, bits, [told, draw.integers(0, 2, 1000)])
        count += len(bits)
    assert mixture.weights[0] > 0.8 * ONE
    assert mixture.weights[0] > 2 * mixture.weights[1]
    conditional = -(0.95 * math.log2(0.95) + 0.05 * math.log2(0.05)) / 8 * count
    assert price.bytes < 1.1 * conditional  # 0.286 of the order-0 cost, a bit each
    assert price.bytes < 0.33 * count / 8


def test_contexts_that_tell_nothing_cost_little():
    draw = np.random.default_rng(1)
    mixture, price = Mixture([50, 50], 32_768), Listener()
    bits = (draw.random(60_000) < 0.2).astype(np.int64)
    for some in np.array_split(bits, 60):
        mixture.code(price, some, [draw.integers(0, 50, len(some)) for _ in range(2)])
    entropy = -(0.2 * math.log2(0.2) + 0.8 * math.log2(0.8)) / 8 * bits.size
    assert abs(price.bytes / entropy - 1) < 0.015


@quick
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 300), max_size=6))
def test_trees_are_krichevsky_and_trofimovs(nodes, seed, counts):
    draw = np.random.default_rng(seed)
    trees, ones, all_ = Trees(nodes), [0] * nodes, [0] * nodes
    for count in counts:
        at, bits, listener = draw.integers(0, nodes, count), draw.integers(0, 2, count), Listener()
        assert trees.code(listener, bits, at) is bits
        chance = [
            min(max(int(Fraction(2 * n + 1, 2 * m + 2) * ONE), 1), ONE - 1) for n, m in zip(ones, all_, strict=True)
        ]
        assert listener.chances == [chance[node] for node in at]
        for node, bit in zip(at.tolist(), bits.tolist(), strict=True):
            ones[node], all_[node] = ones[node] + bit, all_[node] + 1


@needs_constriction
@quick
@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 300), max_size=6), st.booleans())
def test_trees_come_back(nodes, seed, counts, plain):
    draw = np.random.default_rng(seed)
    parts = [(draw.integers(0, 2, n), draw.integers(0, nodes, n)) for n in counts]
    writer, coder = Trees(nodes), Encoder()
    for bits, at in parts:
        writer.code(coder, bits, at)
    reader, coder = Trees(nodes), decoder_of(coder.words, plain)
    for bits, at in parts:
        assert reader.code(coder, None, at).tolist() == bits.tolist()
    assert coder.whole()
