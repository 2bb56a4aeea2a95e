"""What a client got, what the network let through, what the bill says: compared with one ledger row.

Used by the tests that break the network (`fault_proxy`). A request is told by its marker, the name of a key of its
own, which the simulator puts on its bill and the ledger in its row.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.records import Outcome, State
from app.core.views import RequestFilter, RequestRecord
from app.simulator.bill import Bill, BillLine
from tests.harness import GatewayUnderTest, Reply
from tests.judge import judge
from tests.scenarios.fault_proxy import MARKER, Act, Passed

ERROR_EVENT = b"event: error\n"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass
class Got:
    """What a client got of one request. `status` 0: not even a head."""

    marker: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    cut: bool = False

    @property
    def error(self) -> dict[str, Any]:
        """Of an answer of the gateway's own making."""
        assert self.headers["x-error-source"] == "gateway", self
        error: dict[str, Any] = json.loads(self.content)["error"]
        return error

    @property
    def prefix(self) -> bytes:
        """What of it is the upstream's: all but the gateway's error event."""
        return self.content.partition(ERROR_EVENT)[0]

    @property
    def told(self) -> bool:
        return ERROR_EVENT in self.content


async def ask(gateway: GatewayUnderTest, secret: str, marker: str, body: Mapping[str, Any]) -> Got:
    """One request, read to whatever end its answer has."""
    got = Got(marker)
    async with gateway.post(body, secret, headers={MARKER: marker}) as reply:
        got.status, got.headers = reply.status, dict(reply.headers)
        got.content, got.cut = await read_to_end(reply)
    return got


async def read_to_end(reply: Reply) -> tuple[bytes, bool]:
    """The body, and whether it was cut."""
    length = reply.header("content-length")
    if length is not None:
        async with asyncio.timeout(30):
            content = await reply.reader.read(-1) if int(length) == 0 else await _so_many(reply, int(length))
        return content, len(content) < int(length)
    parts = []
    try:
        while part := await reply.chunk(30):
            parts.append(part)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b"".join(parts), True
    return b"".join(parts), False


async def _so_many(reply: Reply, count: int) -> bytes:
    try:
        return await reply.reader.readexactly(count)
    except asyncio.IncompleteReadError as cut:
        return cut.partial


def body_of(answer: bytes) -> tuple[bytes, bool]:
    """The body that stands in an answer's raw bytes, and whether it is whole by its framing."""
    head, found, rest = bytes(answer).partition(b"\r\n\r\n")
    if not found:
        return b"", False
    if _CHUNKED.search(head):
        return _unchunked(rest)
    length = _LENGTH.search(head)
    return rest, length is not None and len(rest) >= int(length[1])


def _unchunked(rest: bytes) -> tuple[bytes, bool]:
    content = b""
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            return content, False
        size = int(line, 16)
        content += rest[:size]
        if size == 0 or len(rest) < size + 2:
            return content, size == 0 and rest.startswith(b"\r\n")
        rest = rest[size + 2 :]


async def all_rows(gateway: GatewayUnderTest) -> list[RequestRecord]:
    """Every row, once nothing is in flight any more; none of them may be open."""
    async with asyncio.timeout(120):
        while len(gateway.ready.gateway.inflight):
            await asyncio.sleep(0.01)
    rows: list[RequestRecord] = []
    async for some in gateway.services.reports.export(RequestFilter()):
        rows += [row for row in some if isinstance(row, RequestRecord)]
    assert [row.id for row in rows if row.state is State.OPEN] == []
    return rows


def by_key(rows: Iterable[RequestRecord]) -> dict[str, RequestRecord]:
    """One row for each key: a second one would be a request that was booked twice."""
    found: dict[str, RequestRecord] = {}
    for row in rows:
        assert row.key not in found, f"{row.key} was booked twice"
        found[row.key] = row
    return found


def by_marker(bill: Bill) -> dict[str, BillLine]:
    found: dict[str, BillLine] = {}
    for line in bill.answers:
        if line.marker is not None:
            assert line.marker not in found, f"{line.marker} was sent upstream twice"
            found[line.marker] = line
    return found


def explain(row: RequestRecord, line: BillLine | None, passed: Passed | None) -> None:
    """One row before its witnesses: nothing doubled, zeroed or lost, and unknown only where nobody could know."""
    what = f"{row.key}: {row.model}, {row.state}, {row.outcome}, {row.unknown_reason}, {line}"
    if row.state is State.SETTLED:
        assert line is not None, what
        judge(row, line)
    elif row.state is State.FREE:
        assert line is None or not line.billed, what
    elif line is not None and line.told:  # it was told, so it must have been lost on the way
        assert passed is not None, what
        late = row.outcome is Outcome.TIMED_OUT  # a slow network may take too long, and then pass all of it on
        assert passed.struck or late, what
        overtaken = passed.struck is Act.RESET  # what was passed on and not read yet is lost
        assert late or overtaken or not body_of(bytes(passed.answer))[1], what
    assert row.kept_picodollars <= row.hold_picodollars, what


@contextlib.contextmanager
def named(what: object) -> Any:
    """Puts a case's name before whatever fails in it."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
