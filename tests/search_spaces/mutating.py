"""Spaces that somebody got wrong: the shipped YAMLs with parts replaced, removed, put in, and their text cut about."""

from __future__ import annotations

import copy
import re

import yaml
from hypothesis import strategies as st

from search_spaces import available
from search_spaces.values import spaces_folder

TEXTS = {name: (spaces_folder() / f"{name}.yaml").read_text(encoding="utf-8") for name in available()}
WORDS = sorted({word for text in TEXTS.values() for word in re.findall(r"[A-Za-z_][A-Za-z0-9_.]*", text)})
ODD = [
    "",
    " ",
    "x",
    "-1",
    "1e400",
    ".",
    "..",
    "a.b.c",
    "codebooks.0.x",
    "{",
    "{b0}",
    "{0}",
    "{a!r:{b}}",
    "nul\0",
    "ä",
    "\n",
]
BIG = [2**31, 2**32, 2**63, 10**20, 10**400, -(10**30)]
PIECES = [
    *"{}[]:,#&*!|>%@`\"'-?~\t\n\0",
    ": ",
    "- ",
    "<<: ",
    "&a ",
    "*a",
    "!!python/object/apply:os.getcwd []",
    "!!int x",
    "!!set {1}",
]
PIECES += [
    "\ufeff",
    "\ud7ff",
    "---\n",
    "...",
    "2020-01-01",
    "0x1F",
    "1_000",
    "0o8",
    ".nan",
    ".inf",
    "1e309",
    "=",
    "null",
    "true",
    "99" * 99,
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from(BIG),
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, 1e-300, 1e300, 5e-324]),
    st.sampled_from(WORDS),
    st.sampled_from(ODD),
    st.dates(),
    st.binary(max_size=2),
)
keys = st.one_of(st.sampled_from(WORDS), st.sampled_from(ODD), st.integers(-1, 9), st.none(), st.booleans())
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)


def holders(data):
    """Every mapping and list in ``data`` that has parts."""
    found = []
    for part in data.values() if isinstance(data, dict) else data:
        if isinstance(part, (dict, list)):
            found += holders(part)
    return ([data] if data else []) + found


def nudged(value):
    """Values of the same kind."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, (int, float)):
        factors = [0, -1, 0.5, 2, 3, 10, 1000, 10**9]
        return st.sampled_from([type(value)(value * by) for by in factors] + [value + 1, value - 1, float(value)])
    return st.sampled_from(WORDS) if isinstance(value, str) else values


@st.composite
def mutated_spaces(draw, names=tuple(TEXTS)):
    """The text of a space with one to four parts of it changed."""
    raw = yaml.safe_load(TEXTS[draw(st.sampled_from(names))])
    for _ in range(draw(st.integers(1, 4))):
        places = holders(raw)
        if not places:
            break
        holder = draw(st.sampled_from(places))
        other = copy.deepcopy(draw(st.sampled_from(places)))
        value = draw(st.one_of(values, st.just(other)))
        key = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
        what = draw(st.sampled_from(["nudge", "replace", "remove", "put in", "rename"]))
        if what == "remove":
            del holder[key]
        elif what == "nudge":
            holder[key] = draw(nudged(holder[key]))
        elif what == "replace":
            holder[key] = value
        elif isinstance(holder, list):
            holder.insert(key, value)
        else:
            holder[draw(keys)] = value if what == "put in" else holder.pop(key)
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


@st.composite
def mutated_texts(draw, names=tuple(TEXTS)):
    """The text of a space with one to four pieces of it cut out, doubled, or others put in."""
    text = TEXTS[draw(st.sampled_from(names))]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(
            st.one_of(st.just(""), st.just(text[start:end] * 2), st.sampled_from(PIECES), st.sampled_from(WORDS))
        )
        text = text[:start] + piece + text[end:]
    return text
