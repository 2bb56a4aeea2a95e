"""Faults in what one client may take from others: places, bytes, time, and what another key made."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

INFLIGHT, BODY = "app/proxy/inflight.py", "app/proxy/request_body.py"
WRITER = "app/store/writer.py"
ADMISSION, MADE, SLICES = "app/core/admission.py", "app/store/made.py", "app/core/slices.py"

BOUNDS = (
    Mutant(
        "where limits stand is not written",
        "what was spent is still spent behind a restart",
        "app/store/database.py",
        "                batch.save()\n",
        "",
        ("tests/store/test_desk.py",),
    ),
    Mutant(
        "the loop writes while other answers are on their way",
        "a disk that is slow keeps no stream waiting",
        WRITER,
        "        if not self._open and not self._gathered and",
        "        if not self._gathered and",
        ("tests/store/test_alone.py",),
    ),
    Mutant(
        "the loop waits for the disk",
        "a disk that is slow keeps no stream waiting",
        WRITER,
        "        if self._database.connection.waits_for_disk or not self._turn.acquire",
        "        if not self._turn.acquire",
        ("tests/store/test_alone.py",),
    ),
    Mutant(
        "an unknown reference passes in any spelling",
        "what is another's is not opened by another spelling",
        ADMISSION,
        "        return intent.rules.unknown and looks_like_id(reference)\n",
        "        return intent.rules.unknown\n",
        ("tests/core/test_admission.py", "tests/proxy/test_references.py"),
    ),
    Mutant(
        "a refusal keeps what stood in an id's place",
        "no text of a prompt is stored",
        "app/store/rows.py",
        "refused.reference if looks_like_id(refused.reference) else None",
        "storable(refused.reference)",
        ("tests/store/test_refusals.py",),
    ),
    Mutant(
        "what a key was told in two teams is the first one's",
        "a team reads nothing that was added in another",
        MADE,
        "else_=_KEY_ALONE)",
        "else_=made.c.maker_id)",
        ("tests/store/test_made.py",),
    ),
    Mutant(
        "what a key was told in two teams is lost to it",
        "a key that moves keeps what it made",
        MADE,
        ", else_=_KEY_ALONE)",
        ")",
        ("tests/store/test_made.py",),
    ),
    Mutant(
        "a body of any number of parts is searched",
        "no body costs seconds",
        SLICES,
        "        if self._parts > PARTS_MAX:\n",
        "        if self._parts < 0:\n",
        ("tests/core/test_references.py",),
    ),
    Mutant(
        "a part with any number of containers is decoded at once",
        "no body holds the event loop",
        SLICES,
        '        if slim.count(b"[") + slim.count(b"{") > SLICE_CONTAINERS_MAX:\n',
        "        if len(slim) < 0:\n",
        ("tests/core/test_references.py",),
    ),
    Mutant(
        "strangers take places",
        "who has no key keeps nobody out",
        "app/proxy/exchange.py",
        "    async def __aenter__(self) -> Exchange:\n",
        "    async def __aenter__(self) -> Exchange:\n        self._inflight.enter(self)\n",
        ("tests/proxy/test_limits.py::test_who_is_not_known_yet_holds_no_place",),
    ),
    Mutant(
        "slow bodies of one key take all places",
        "a key without limits leaves half the places",
        INFLIGHT,
        "        if self._coming_in.get(key_id, 0) >= (self._concurrency_max + 1) // 2:\n",
        "        if self._coming_in.get(key_id, 0) >= self._concurrency_max:\n",
        ("tests/proxy/test_limits.py::test_bodies_of_one_key_that_still_come_in_leave_half_the_places_to_others",),
    ),
    Mutant(
        "slow bodies of one key take all bytes",
        "a key without limits leaves half the bytes",
        INFLIGHT,
        "        if beyond_share or self._bodies_bytes",
        "        if self._bodies_bytes",
        ("tests/proxy/test_limits.py::test_bodies_of_one_key_that_still_come_in_leave_half_the_bytes_to_others",),
    ),
    Mutant(
        "a body that came in counts as one that comes in",
        "what is admitted is bound by its key's own limits",
        INFLIGHT,
        "            counter[key_id] -= gone\n",
        "            counter[key_id] -= 0\n",
        ("tests/proxy/test_limits.py::test_bodies_of_one_key_that_still_come_in_leave_half_the_places_to_others",),
    ),
    Mutant(
        "speed gone by is credit",
        "a body that stops is ended in time, however quick it was",
        BODY,
        "            end = min(end + len(chunk) / BYTES_PER_SECOND_MIN, loop.time() + self._stall_seconds)\n",
        "            end += len(chunk) / BYTES_PER_SECOND_MIN\n",
        ("tests/proxy/test_limits.py::test_what_came_quickly_is_no_credit_for_what_does_not",),
    ),
    Mutant(
        "a key asks of its books on all connections at once",
        "a key holder's pages keep nobody out",
        "app/admin/holder.py",
        "        return self.turns.of(key_id_of(request))\n",
        "        return contextlib.nullcontext()\n",
        ("tests/admin/test_turns.py",),
    ),
    Mutant(
        "connections that rest keep all places",
        "who asks for nothing keeps nobody out",
        "app/proxy/guard/protocol.py",
        "        if peer is not None and self.limits.places.are_full:\n",
        "        if peer is None:\n",
        ("tests/proxy/guard/test_bounds.py::test_connections_that_only_rest_make_room_for_others",),
    ),
    Mutant(
        "behind a proxy a crowded address sees nothing",
        "health and administration are always answered",
        "app/proxy/guard/seat.py",
        "            if not self._move(self.client) and target.startswith(DATA_PLANE):\n",
        "            if not self._move(self.client):\n",
        ("tests/proxy/guard/test_bounds.py::test_behind_a_proxy_an_address_with_its_share_still_reaches_the_rest",),
    ),
)
