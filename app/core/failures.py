"""How long the answer to a wrong key waits, by the address that it came from.

Nobody guesses 256 bits; this takes the speed and the gain from trying. Rule: an address may fail a
few times at once, then it pays back one failure a second, and whoever owes more waits longer, up to
a bound. A request with a valid key is never asked here. Pure: the time is told by the caller.
"""

from __future__ import annotations

from collections import OrderedDict

# So many failures of one address are answered at once (a client that starts with an old key, and its retries).
FREE_FAILURES = 20
FORGIVEN_PER_SECOND = 1.0

DELAY_SECONDS_MAX = 5.0
_DELAY_SECONDS_PER_FAILURE = 0.1

# Of so many addresses the failures are remembered; the one that failed longest ago is forgotten first.
ADDRESSES_MAX = 10_000


class FailureDelays:
    """What each address owes: failures that time has not yet forgiven."""

    def __init__(self) -> None:
        self._owed: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address: failures, at which second

    def __len__(self) -> int:
        return len(self._owed)

    def failed(self, address: str, now: float) -> float:
        """Notes one failure; the seconds that its answer shall wait. `now`: seconds of a monotonic clock."""
        owed, at = self._owed.pop(address, (0.0, now))
        owed = max(0.0, owed - (now - at) * FORGIVEN_PER_SECOND) + 1.0
        # More is not kept than makes the longest wait: whoever stops is soon forgiven.
        owed = min(owed, FREE_FAILURES + DELAY_SECONDS_MAX / _DELAY_SECONDS_PER_FAILURE)
        self._owed[address] = (owed, now)
        if len(self._owed) > ADDRESSES_MAX:
            self._owed.popitem(last=False)
        return min(DELAY_SECONDS_MAX, max(0.0, owed - FREE_FAILURES) * _DELAY_SECONDS_PER_FAILURE)
