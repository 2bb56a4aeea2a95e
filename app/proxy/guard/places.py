"""How many connections there are: all together, and of each address where that is limited.

Rule: behind the last place a few more are kept, in which only health and administration are answered,
so that whoever must see or end a flood can. Connections that only rest between two requests make room before
that. The gateway's own Unix socket needs no place.
Called by `protocol`; one `Places` serves one gateway.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto

# Beyond a limit so many are still heard, to be told so; further ones are dropped unheard.
RESERVE = 64


class Place(Enum):
    OPEN = auto()
    FULL = auto()  # no place: only what is not the data plane is answered
    CROWDED = auto()  # the same, since this address has its share
    NONE = auto()  # not even that: drop it


class Places:
    """`per_client_max`: 0 = no limit."""

    def __init__(self, *, connections_max: int, per_client_max: int) -> None:
        self.connections_max = connections_max
        self.per_client_max = per_client_max
        self.taken = 0
        self._by_client: Counter[str] = Counter()

    @property
    def are_full(self) -> bool:
        return self.taken >= self.connections_max

    def enter(self, client: str | None) -> Place:
        """Takes a place for a new connection; but for NONE, `leave` gives it back."""
        if self.taken >= self.connections_max + RESERVE:
            return Place.NONE
        crowd = self._by_client[client] - self.per_client_max if client is not None and self.per_client_max else -1
        if crowd >= RESERVE:
            return Place.NONE
        place = Place.FULL if self.are_full else Place.CROWDED if crowd >= 0 else Place.OPEN
        self.taken += 1
        self._count(client)
        return place

    def leave(self, client: str | None) -> None:
        self.taken -= 1
        self._discount(client)

    def move(self, before: str | None, now: str | None) -> bool:
        """A proxy's connection carries another client's request from here on; False if that one has its share."""
        if before != now:
            self._discount(before)
            self._count(now)
        return now is None or not self.per_client_max or self._by_client[now] <= self.per_client_max

    def _count(self, client: str | None) -> None:
        if client is not None and self.per_client_max:
            self._by_client[client] += 1

    def _discount(self, client: str | None) -> None:
        if client is not None and self.per_client_max:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
