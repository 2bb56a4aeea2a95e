"""All that binds a request: those among its key, its team and the gateway that have limits, taken together.

A `Binding` is made once for each key and asked by each of its requests: what does not change between them is found
beforehand. `Endings` are made for a transaction, and tell each binding once what ended. Called by `admission` and the
store, which loads and saves the standings behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.core.budgets import ALWAYS_FROM_MS, ALWAYS_TO_MS, Budget
from app.core.limits import Ended, Standing, Violation, Window
from app.core.records import Allowances

# Stands for a limit that there is not. An answer counts for 10¹² tokens at most: of these a minute would need 4.6
# million.
_UNLIMITED = 1 << 62


class Binding:
    """`standings`: the key's first. Their limits and budgets stay as they are; windows may be added to a budget.
    `limited`: those with limits. `tpm`: the lowest limit of tokens.
    """

    __slots__ = (
        "_from_ms",
        "_present",
        "_room",
        "_until_ms",
        "_with_rpm",
        "_with_tpm",
        "budgets",
        "limited",
        "standings",
        "tpm",
    )

    def __init__(self, standings: Sequence[Standing]) -> None:
        self.standings = standings
        self.limited = [one for one in standings if one.limits]
        self.budgets = [budget for one in standings for budget in one.budgets]
        with_rpm = [one for one in standings if one.limits.rpm is not None]
        with_tpm = [one for one in standings if one.limits.tpm is not None]
        # The lowest limit first, which is the tightest of those that leave as much.
        self._with_rpm = sorted(with_rpm, key=lambda one: one.limits.rpm or 0)
        self._with_tpm = sorted(with_tpm, key=lambda one: one.limits.tpm or 0)
        self.tpm = self._with_tpm[0].limits.tpm if self._with_tpm else None
        # Each with its limits, read once: every request asks for them.
        self._room = [
            (one, one.limits.rpm or _UNLIMITED, one.limits.tpm or _UNLIMITED, one.limits.concurrency or _UNLIMITED)
            for one in self.limited
        ]
        # The windows found last, and between which times each of them is the one to be found.
        self._present: list[tuple[Budget, Window]] = []
        self._from_ms = self._until_ms = 0

    def windows(self, at_ms: int) -> Sequence[tuple[Budget, Window]]:
        """Each budget with its window that holds an instant; without those that have none.

        Nearly all requests fall into the same windows, so these are remembered. They stay the right ones: windows of
        a budget neither move nor overlap. Where one is missing nothing is remembered, as it may begin.
        """
        if self._from_ms <= at_ms < self._until_ms:
            return self._present
        found = [(one.budget, window) for one in self.budgets if (window := one.window(at_ms)) is not None]
        if len(found) == len(self.budgets):
            self._present = found
            self._from_ms = max([window.span.starts_at_ms for _, window in found], default=ALWAYS_FROM_MS)
            self._until_ms = min([window.span.ends_at_ms for _, window in found], default=ALWAYS_TO_MS)
        return found

    def left(self, at_ms: int) -> int | None:
        """What the tightest budget leaves, below nothing after an overrun: a hold of so much is the largest that all of
        them allow. None = there is none."""
        left = [
            budget.amount_picodollars - window.settled - window.kept - window.held
            for budget, window in self.windows(at_ms)
        ]
        return min(left, default=None)

    def has_room(self, now_ms: int, tokens: int) -> bool:
        """Whether nothing is `Standing.too_many` of anybody. `tokens`: at most `tpm`.

        Asked for each request, so it makes nothing.
        """
        for standing, rpm, tpm, concurrency in self._room:
            rate = standing.rate
            rate.advance(now_ms)
            if (
                rate.requests >= rpm
                or standing.running >= concurrency
                or rate.tokens + standing.running_tokens + tokens > tpm
            ):
                return False
        return True

    def violations(self, at_ms: int, now_ms: int, hold: int, tokens: int) -> list[Violation]:
        """What stands in the way of a request made at `at_ms` that may cost so much and have so many tokens."""
        return [one for standing in self.standings for one in standing.violations(at_ms, now_ms, hold, tokens)]

    def take(self, at_ms: int, now_ms: int, hold: int, tokens: int) -> None:
        """Counts a request that is admitted."""
        for standing in self.limited:
            standing.take(now_ms, tokens)
        for _, window in self.windows(at_ms):
            window.held += hold

    def end(self, at_ms: int, now_ms: int, ended: Ended) -> None:
        """Counts requests that are closed, in the windows that hold their creation."""
        for standing in self.limited:
            standing.end(now_ms, ended)
        for _, window in self.windows(at_ms):
            window.end(ended)

    def allowances(self, left: int | None, now_ms: int) -> Allowances:
        """What the tightest limits leave; of equals the lowest is told, and of these the first.

        `left`: by the tightest budget. Behind a `has_room` that said yes, or `violations`: these let go of what is
        older than a minute.
        """
        requests = min(self._with_rpm, key=Standing.requests_left, default=None)
        tokens = min(self._with_tpm, key=Standing.tokens_left, default=None)
        return Allowances(
            None if requests is None else requests.requests_allowance(now_ms),
            None if tokens is None else tokens.tokens_allowance(now_ms),
            None if left is None else max(0, left),
        )


NOTHING_BINDS = Binding(())


class Endings:
    """What one transaction closes: requests that are bound alike, and count in the same windows, are counted together.

    Of 64 requests of eight keys that end together, each with two budgets on key, team and gateway, 48 windows are told
    instead of 384.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        # By the identity of the list of windows: the same one for requests of a binding in the same windows, a new one
        # each time where a window is missing. It is held here, or another list could get its identity.
        self._found: dict[int, tuple[Binding, Sequence[tuple[Budget, Window]], int, Ended]] = {}

    def of(self, binding: Binding, at_ms: int) -> Ended:
        """Where a request that was created at `at_ms` is added up."""
        windows = binding.windows(at_ms)
        found = self._found.get(id(windows))
        if found is None:
            found = self._found[id(windows)] = binding, windows, at_ms, Ended()
        return found[3]

    def count(self, now_ms: int) -> None:
        """Tells each binding what ended: once."""
        for binding, _, at_ms, ended in self._found.values():
            binding.end(at_ms, now_ms, ended)
