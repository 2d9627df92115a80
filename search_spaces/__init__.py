"""The YAMLs, one a method and network, and the typed grammar that reads them."""

from search_spaces.space import Space, available
from search_spaces.values import SpaceError

__all__ = ["Space", "SpaceError", "available"]
