"""What was made lately: written in the order in which it is told, and put in its place by and by.

A place in `made` is told by a hash: there at once, each id would write a page of its own (of the 124 pages that a
commit of 64 requests wrote, 70 were these). So what a transaction tells is a row at the end of `made_lately`, and
is kept in memory, each id in a drawer by the first bits of its hash. When there are many, the next drawer is put in its
place: its ids are neighbours there. So it goes round and round; what was told before a round began is in its place when
it ends, and let go of here.

Called by `made`, in the writer's transactions. What is in memory is what those have written: it does not outlive one
that failed (no batch does), and is read from the table again.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterable, Sequence

# [hash, maker, day]
Entry = tuple[int, int, int]

# So many ids wait, some four mebibytes; the more there are, the more of a drawer stand on one page.
WAITING_MAX = 32 * 1024
DRAWERS = 2048  # so that putting one in its place takes a request a tenth of a millisecond

# So many are put in their place at a heartbeat, if there are.
TIDIED_MIN = 256

_SHIFT = 64 - DRAWERS.bit_length() + 1

_PACKED = struct.Struct("<qII")

_ADD = "INSERT INTO made_lately (entries) VALUES (?)"
_READ = "SELECT entries FROM made_lately ORDER BY seq"
_LAST = "SELECT coalesce(max(seq), 0) FROM made_lately"
_LET_GO = "DELETE FROM made_lately WHERE seq <= ?"


class MadeLately:
    """`place`: writes entries into `made`; one that is there already changes nothing."""

    def __init__(self, connection: sqlite3.Connection, place: Callable[[Sequence[Entry]], None]) -> None:
        self._connection = connection
        self._place = place
        self._drawers: list[list[Entry]] = []  # none: not read yet
        self._waiting = 0
        self._next = 0
        self._told_before = 0  # the round began: the last row's number

    def add(self, entries: Sequence[Entry]) -> None:
        self._read()
        self._connection.execute(_ADD, (b"".join([_PACKED.pack(*entry) for entry in entries]),))
        self._keep(entries)
        while self._waiting > WAITING_MAX:
            self._go_on()

    def tidy(self) -> None:
        """Goes on a little, also where nothing new is made; in the end nothing waits, and the table is empty."""
        self._read()
        placed = 0
        while placed < TIDIED_MIN and (self._next or self._waiting or self._told_before):
            placed += self._go_on()

    def put_in_place(self, hashes: Iterable[int]) -> None:
        """Whatever waits of these. Its rows stay: should they be read again, they change nothing."""
        self._read()
        wanted = frozenset(hashes)
        found = [entry for one in wanted for entry in self._drawers[one >> _SHIFT] if entry[0] == one]
        self._place(found)

    def _go_on(self) -> int:
        """Puts the next drawer in its place; returns how many ids were in it."""
        drawer, self._drawers[self._next] = self._drawers[self._next], []
        self._waiting -= len(drawer)
        self._place(sorted(drawer))
        self._next = (self._next + 1) % DRAWERS
        if self._next == 0:
            self._connection.execute(_LET_GO, (self._told_before,))
            self._begin_round()
        return len(drawer)

    def _keep(self, entries: Sequence[Entry]) -> None:
        drawers = self._drawers
        for entry in entries:
            drawers[entry[0] >> _SHIFT].append(entry)  # of a negative number: from the end
        self._waiting += len(entries)

    def _read(self) -> None:
        if not self._drawers:
            self._drawers = [[] for _ in range(DRAWERS)]
            self._begin_round()
            for (packed,) in self._connection.execute(_READ):
                self._keep(list(_PACKED.iter_unpack(packed)))

    def _begin_round(self) -> None:
        (self._told_before,) = self._connection.execute(_LAST).fetchone()
