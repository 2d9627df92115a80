"""What each method of a study contributes to the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.pareto import Scale
from search.front import Member
from search_spaces.several import METHOD

__all__ = ["Share", "shares"]

Share = Mapping[str, float]


def shares(members: Sequence[Member], scale: Scale) -> dict[str, Share]:
    """By method: its ``members``, the share of the hypervolume that they have ``alone``, and what ``only`` they add to the others."""
    whole = scale.hypervolume([m.metrics for m in members])
    found: dict[str, Share] = {}
    for word in dict.fromkeys(str(m.config.get(METHOD)) for m in members):
        own = [m.metrics for m in members if m.config.get(METHOD) == word]
        rest = [m.metrics for m in members if m.config.get(METHOD) != word]
        alone, without = scale.hypervolume(own), scale.hypervolume(rest)
        found[word] = {"members": len(own), "alone": alone / whole, "only": 1 - without / whole} if whole else {}
    return found
