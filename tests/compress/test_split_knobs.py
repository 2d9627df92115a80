import pytest

from compress.method import KnobError
from compress.split_knobs import ChannelEntry, CodebookEntry, in_shares, read_beta

EVENTS = {"prune_epochs": [0.25, 0.5], "prune_ns": [2, 2]}


def test_numbers_of_codebooks_add_up_and_those_of_channels_do_not():
    book = CodebookEntry.read("codebooks.0", {"layer": "a", **EVENTS}, 0.0)
    assert [book.gone(p) for p in (0, 0.24, 0.25, 0.49, 0.5, 1)] == [0, 0, 2, 2, 4, 4]
    channels = ChannelEntry.read("prune_channels.0", {"layer": "a", "prune_epochs": [0.25, 0.5], "prune_ns": [2, 4]})
    assert [channels.gone(p) for p in (0, 0.24, 0.25, 0.49, 0.5, 1)] == [0, 0, 2, 2, 4, 4]
    assert channels.most == 4
    back = ChannelEntry.read("prune_channels.0", {"layer": "a", "prune_epochs": [0, 0.5], "prune_ns": [3, 1]})
    assert [back.gone(p) for p in (0, 0.5)] == [3, 1], "a channel may come back"


def test_what_an_entry_leaves_out_has_a_default():
    entry = CodebookEntry.read("codebooks.0", {}, "LinearBeta(0, 2)")
    assert (entry.layer, entry.hidden_dim, entry.codebook_size, entry.gone(1.0)) == ("auto", None, 16, 0)
    assert entry.beta(0.5) == 1.0
    assert CodebookEntry.read("codebooks.0", {"beta": 7}, "LinearBeta(0, 2)").beta(0.5) == 7


@pytest.mark.parametrize(
    ("plain", "line"),
    [
        (
            5,
            "codebooks.0 = 5: must be a mapping with the keys layer, hidden_dim, codebook_size, beta, prune_epochs, prune_ns",
        ),
        ({"codebok_size": 3}, "codebooks.0.codebok_size = 3: no such key; did you mean codebook_size?"),
        ({"layer": "a()"}, "codebooks.0.layer = 'a()': must be a path to a layer, such as layer1[2].bn1, or auto"),
        ({"codebook_size": 1}, "codebooks.0.codebook_size = 1: must be a whole number from 2 to 4096"),
        ({"codebook_size": 8.0}, "codebooks.0.codebook_size = 8.0: must be a whole number from 2 to 4096"),
        ({"codebook_size": True}, "codebooks.0.codebook_size = True: must be a whole number from 2 to 4096"),
        ({"hidden_dim": 0}, "codebooks.0.hidden_dim = 0: must be a whole number from 1 to 4096"),
        ({"beta": "exec(1)"}, "codebooks.0.beta = 'exec(1)': must be a number, ConstantBeta(b), or one of"),
        ({"prune_epochs": 3}, "codebooks.0.prune_epochs = 3: must be a list of numbers"),
        ({"prune_epochs": 0}, "codebooks.0.prune_epochs = 0: must be a list of numbers"),
        ({"prune_ns": False}, "codebooks.0.prune_ns = False: must be a list of numbers"),
        ({"prune_epochs": [0.5]}, "codebooks.0.prune_ns = []: must have as many numbers as prune_epochs, 1"),
        ({**EVENTS, "prune_ns": [2, -1]}, "codebooks.0.prune_ns.1 = -1: must be a whole number from 0 to 4096"),
        ({**EVENTS, "codebook_size": 5}, "codebooks.0.prune_ns = [2, 2]: must leave two of the 5 codewords in all"),
        (
            {**EVENTS, "prune_epochs": [0.5, 85]},
            "codebooks.0.prune_epochs = [0.5, 85]: must lie in [0, 1), shares of the epochs",
        ),
        ({**EVENTS, "prune_epochs": [0.5, 0.2]}, "codebooks.0.prune_epochs = [0.5, 0.2]: must not go down"),
    ],
)
def test_a_mistake_is_one_line(plain, line):
    with pytest.raises(KnobError) as caught:
        CodebookEntry.read("codebooks.0", plain, 0.0)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_channels_have_keys_of_their_own():
    with pytest.raises(
        KnobError, match=r"^prune_channels\.1\.gamma = 1: no such key; they are layer, prune_epochs, prune_ns$"
    ):
        ChannelEntry.read("prune_channels.1", {"layer": "a", "gamma": 1})
    with pytest.raises(KnobError, match=r"^prune_channels\.0\.layer = None: must be a path"):
        ChannelEntry.read("prune_channels.0", {})
    with pytest.raises(
        KnobError, match=r"^prune_channels\.0\.layer = 'auto': must be a path to a layer; only codebooks"
    ):
        ChannelEntry.read("prune_channels.0", {"layer": "auto"})


@pytest.mark.parametrize(
    ("ns", "book", "channel"), [([2, 4], 0.5, 0.5), ([2, 0], 0.25, 0.5), ([2, 2], 0.5, 0.25), ([0, 0], None, None)]
)
def test_the_last_event_is_the_last_that_changes_a_number(ns, book, channel):
    plain = {"layer": "a", "prune_epochs": [0.25, 0.5], "prune_ns": ns}
    assert CodebookEntry.read("codebooks.0", plain, 0.0).last == book
    assert ChannelEntry.read("prune_channels.0", plain).last == channel


def test_whole_epochs_become_shares_of_the_budget():
    entries = [{"layer": "a", "prune_epochs": [85, 0.5, 0, 200, 300], "prune_ns": [1]}, {"layer": "b"}]
    assert in_shares(entries, 200)[0]["prune_epochs"] == [0.425, 0.5, 0, 200, 300]
    assert in_shares(entries, 200)[1] == {"layer": "b"}
    assert entries[0]["prune_epochs"][0] == 85
    assert in_shares("codebooks", 3) == "codebooks"


def test_a_beta_that_cannot_be_read_names_its_knob():
    for wrong in (None, [], "beta", -1, float("inf")):
        with pytest.raises(KnobError, match=r"^beta = .*: "):
            read_beta("beta", wrong)
