"""How far the source of a wheel is proven: said in the wheel, by who signs it, in an index, and asked for by a gate."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

NO_TIME: Final = 315_532_800
"""1980, the first that a zip can hold: when the source was committed, nobody knows."""


class ProofLevel(StrEnum):
    """How far it is proven, the most first."""

    PROVEN = "proven"
    REPOSITORY = "repository"
    WHEEL = "wheel"

    @property
    def words(self) -> str:
        """How people read it."""
        return _WORDS[self]

    def reaches(self, other: ProofLevel) -> bool:
        """Say whether it is as much as another."""
        return _ORDER.index(self) <= _ORDER.index(other)


_ORDER: Final = tuple(ProofLevel)
_WORDS: Final = {
    ProofLevel.PROVEN: "source proven",
    ProofLevel.REPOSITORY: "source from the repository at this commit",
    ProofLevel.WHEEL: "wheel alone: source not proven",
}
