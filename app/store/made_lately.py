"""What was made lately: written in the order in which it is told, and put in its place by and by.

A place in `made` is told by a hash: there at once, each id would write a page of its own (of the 124 pages that a
commit of 64 requests wrote, 70 were these). So what a transaction tells is a row at the end of `made_lately`, and
is kept in memory, each id in a bucket by the first bits of its hash. When there are many, the next bucket is put in its
place: its ids are neighbours there. So it goes round and round; what was told before a round began is in its place when
it ends, and let go of here. Each row holds how many buckets had been placed before: whoever reads the table again knows
what still waits, and goes on there. (What he places once more changes nothing.)

Called by `made`, in the writer's transactions. What is in memory is what those have written: it does not outlive one
that failed (no batch does), and is read from the table again.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterable, Sequence

# [hash, maker, day]
Entry = tuple[int, int, int]

# So many ids wait, packed in a mebibyte and a half; the more there are, the more ids of a bucket stand on one page. (Of
# ten million, a request among 64 took 46.2 µs of the ledger's time, with half as many 49.2; of none, 43.) The table has
# up to five times as many: those of two rounds.
WAITING_MAX = 64 * 1024
BUCKETS = 2048  # so that a request that is alone puts a few dozen ids in their place at a time, not thousands

# Where more wait, so many above twice what is added are put in their place with it: not all of them at once.
AHEAD_MIN = 64

# So many are put in their place at a heartbeat, if there are.
HEARTBEAT_MIN = 256

_SHIFT = 64 - BUCKETS.bit_length() + 1

_PACKED = struct.Struct("<qqq")

_ADD = "INSERT INTO made_lately (placed, entries) VALUES (?, ?)"
_READ = "SELECT seq, placed, entries FROM made_lately ORDER BY seq"
_LAST = "SELECT coalesce(max(seq), 0) FROM made_lately"
_LAST_PLACED = "SELECT coalesce(max(placed), 0) FROM made_lately WHERE seq = (SELECT max(seq) FROM made_lately)"
_LET_GO = "DELETE FROM made_lately WHERE seq <= ?"


def packed(entries: Iterable[Entry]) -> bytes:
    """As a row has them."""
    return b"".join([_PACKED.pack(*entry) for entry in entries])


class MadeLately:
    """Make it in a transaction. `place`: writes entries into `made`; one that is there already changes nothing."""

    def __init__(self, connection: sqlite3.Connection, place: Callable[[Sequence[Entry]], None]) -> None:
        self._connection = connection
        self._place = place
        self._buckets = [bytearray() for _ in range(BUCKETS)]  # of packed entries
        self._waiting = 0
        self._told_before = 0  # the last row's number when the round began
        self._has_rows = False  # the table, perhaps of ids that are all in their place
        (self._placed,) = connection.execute(_LAST_PLACED).fetchone()  # buckets, since there is anything
        self._read()

    def add(self, entries: Sequence[Entry]) -> None:
        self._connection.execute(_ADD, (self._placed, packed(entries)))
        self._has_rows = True
        for entry in entries:
            self._keep(entry)
        placed = 0
        while self._waiting > WAITING_MAX and placed < AHEAD_MIN + 2 * len(entries):
            placed += self._place_next()

    def place_some(self) -> None:
        """Goes on a little, also where nothing new is made; in the end nothing waits, and the table is empty."""
        placed = 0
        while placed < HEARTBEAT_MIN and (self._placed % BUCKETS or self._has_rows):
            placed += self._place_next()

    def put_in_place(self, hashes: Iterable[int]) -> None:
        """Whatever waits of these."""
        found: list[Entry] = []
        for one in frozenset(hashes):
            bucket = self._buckets[one >> _SHIFT]
            entries = list(_PACKED.iter_unpack(bucket))
            its = [entry for entry in entries if entry[0] == one]
            if its:
                bucket[:] = packed(entry for entry in entries if entry[0] != one)
                found += its
        self._waiting -= len(found)
        self._place(found)

    def _place_next(self) -> int:
        """Puts the next bucket in its place; returns how many ids were in it."""
        number = self._placed % BUCKETS
        entries = sorted(_PACKED.iter_unpack(self._buckets[number]))
        self._buckets[number] = bytearray()
        self._waiting -= len(entries)
        self._place(entries)
        self._placed += 1
        if self._placed % BUCKETS == 0:
            self._connection.execute(_LET_GO, (self._told_before,))
            (self._told_before,) = self._connection.execute(_LAST).fetchone()
            self._has_rows = self._told_before > 0
        return len(entries)

    def _keep(self, entry: Entry) -> None:
        self._buckets[entry[0] >> _SHIFT] += _PACKED.pack(*entry)  # of a negative number: from the end
        self._waiting += 1

    def _read(self) -> None:
        """Whatever has not had its turn since it was told."""
        round_began = self._placed - self._placed % BUCKETS
        for seq, placed_before, row in self._connection.execute(_READ):
            self._has_rows = True
            if placed_before < round_began:
                self._told_before = seq
            for one, maker, day in _PACKED.iter_unpack(row):
                turns = ((one >> _SHIFT) - placed_before) % BUCKETS  # until its own
                if placed_before + turns >= self._placed:
                    self._keep((one, maker, day))
