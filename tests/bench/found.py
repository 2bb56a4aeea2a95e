"""What a case has found, and the arithmetic over it: medians, and ratios of windows of the same round.

A void window (one failed request is enough) counts for no median and no ratio; it is kept with its reason, and told.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

Figures = dict[str, float]

# Where others had more of the machine than so many cores, figures are disturbed.
OTHERS_MAX = 0.12


@dataclass(frozen=True)
class Void:
    """A window that counts for nothing, and why."""

    why: str


@dataclass
class Found:
    """Of each subject its figures, round by round; and which subjects were not there."""

    figures: dict[str, list[Figures | Void]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, subject: str, found: Figures | Void) -> None:
        self.figures.setdefault(subject, []).append(found)

    def values(self, subject: str, measure: str) -> list[float | None]:
        """By round; None = void, or not measured."""
        rounds = self.figures.get(subject, [])
        return [None if isinstance(each, Void) else each.get(measure) for each in rounds]

    def median(self, subject: str, measure: str) -> float | None:
        return median(self.values(subject, measure))

    def ratio(self, subject: str, other: str, measure: str) -> float | None:
        return self._compared(subject, other, measure, lambda one, two: one / two if two else None)

    def difference(self, subject: str, other: str, measure: str) -> float | None:
        return self._compared(subject, other, measure, lambda one, two: one - two)

    @property
    def others(self) -> float:
        """So many cores did other things while the most disturbed subject was measured."""
        medians = [self.median(name, "others") for name in self.figures]
        return max((value for value in medians if value is not None), default=0.0)

    def void(self, subject: str) -> list[str]:
        return [each.why for each in self.figures.get(subject, []) if isinstance(each, Void)]

    def _compared(
        self, subject: str, other: str, measure: str, how: Callable[[float, float], float | None]
    ) -> float | None:
        """Round by round, since what the machine does meets both; None where either is void."""
        pairs = zip(self.values(subject, measure), self.values(other, measure), strict=False)
        return median([None if one is None or two is None else how(one, two) for one, two in pairs])

    # --- kept in a file --------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        rounds = {
            name: [{"void": each.why} if isinstance(each, Void) else each for each in found]
            for name, found in self.figures.items()
        }
        return {"figures": rounds, "missing": self.missing}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        rounds: dict[str, list[Figures | Void]] = {
            name: [Void(each["void"]) if "void" in each else each for each in found]
            for name, found in kept["figures"].items()
        }
        return cls(rounds, kept["missing"])


def median(values: Sequence[float | None]) -> float | None:
    """Of those that count; None if none does."""
    kept = [value for value in values if value is not None]
    return statistics.median(kept) if kept else None
