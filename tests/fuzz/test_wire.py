"""Malformed requests by the thousand on real sockets: refused in order, never forwarded, never a fault of ours.

A case is its seed: `malformed(1234, secret)` is the request of seed 1234, today and tomorrow.

    uv run pytest tests/fuzz/test_wire.py           # a thousand, and twelve thousand more
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app import telemetry
from tests.fuzz.raw_requests import malformed
from tests.fuzz.reference import forwardable, whole_requests
from tests.harness import UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream, SeenRequest, json_answer

AT_ONCE = 50

# After so long without a byte, the first or a further one, the client leaves; nothing is concluded from a silence.
FIRST_BYTE_SECONDS, SILENCE_SECONDS = 1.0, 0.1

ANSWER = {"id": "resp_1", "output": [], "usage": {"cost": 0.01}}
FORWARDED = {b"host", b"authorization", b"accept-encoding", b"content-length", b"content-type", b"accept"}
FORWARDED |= {b"user-agent", b"openai-beta"}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, by whomever."""
    before, handlers, level = structlog.get_config(), list(logging.getLogger().handlers), logging.getLogger().level
    stream = io.StringIO()
    telemetry.configure("debug", stream=stream)
    yield stream
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


async def answer_to(gateway: GatewayUnderTest, raw: bytes) -> bytes:
    """Everything that comes back until the gateway closes or falls silent."""
    received = bytearray()
    async with gateway.connect() as reply:
        try:
            reply.writer.write(raw)
            patience = FIRST_BYTE_SECONDS
            while piece := await asyncio.wait_for(reply.reader.read(2**16), patience):
                received += piece
                patience = SILENCE_SECONDS
        except (TimeoutError, ConnectionError):
            pass
    return bytes(received)


def statuses(answer: bytes) -> list[int]:
    """Of all answers on a connection, whose bodies hold no status line."""
    found = [int(status) for status in re.findall(rb"^HTTP/1\.1 ([0-9]{3}) ", answer, re.MULTILINE)]
    assert found or not answer, answer[:200]
    return found


def check_forwarded(seen: SeenRequest) -> None:
    """Whatever came in, this goes out: one line, listed headers once each, our credential, a body of its length."""
    assert seen.raw_head.startswith(b"POST /v1/openai/responses HTTP/1.1\r\n")
    names = [name for name, _ in seen.headers]
    assert {name for name in names if not name.startswith(b"x-stainless-")} <= FORWARDED
    for name in (b"host", b"authorization", b"accept-encoding", b"content-length"):
        assert names.count(name) == 1
    assert seen.header(b"authorization") == b"Bearer " + UPSTREAM_KEY.encode()
    assert seen.header(b"content-length") == str(len(seen.body)).encode()
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|irg_", seen.raw_head)


async def fuzz(upstream: ScriptedUpstream, directory: Path, log: io.StringIO, seeds: range) -> Counter[int]:
    """Sends the requests of these seeds; returns how often each status came."""
    upstream.otherwise = lambda seen: [json_answer(ANSWER)]
    upstream.aside(b"/v3/models?output_modalities=text", json_answer([{"id": "m"}]))
    counted: Counter[int] = Counter()
    allowed: Counter[bytes] = Counter()
    async with gateway_before(upstream.url, directory) as gateway:
        secret = await gateway.create_key()
        places = asyncio.Semaphore(AT_ONCE)

        async def one(seed: int) -> None:
            async with places:
                raw = malformed(seed, secret)
                allowed.update(one.body for one in whole_requests(raw) if forwardable(one, secret))
                answer = await answer_to(gateway, raw)
            counted.update(statuses(answer))
            assert not [status for status in statuses(answer) if status >= 500], (seed, raw, answer[:500])
            assert UPSTREAM_KEY.encode() not in answer, seed

        await asyncio.gather(*map(one, seeds))
    # What the network still held when its client left comes in until the end.
    rows = rows_by_state(directory / "gateway.db")
    forwarded = Counter(seen.body for seen in upstream.requests)
    for seen in upstream.requests:
        check_forwarded(seen)
    assert not forwarded - allowed, f"forwarded though malformed: {list(forwarded - allowed)[:3]}"
    assert (rows.get("open", 0), sum(rows.values())) == (0, len(upstream.requests))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    faults = [line for line in lines if line["level"] in ("error", "critical") or "exception" in line]
    assert faults == []
    assert not re.search(secret, log.getvalue())
    return counted


def rows_by_state(database: Path) -> dict[str, int]:
    """As the ledger stands when its gateway has ended."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM requests GROUP BY state"))


async def check(upstream: ScriptedUpstream, directory: Path, log: io.StringIO, seeds: range) -> None:
    counted = await fuzz(upstream, directory, log, seeds)
    # The cases are neither all refused nor all harmless, or they would show nothing.
    assert len(seeds) / 50 < len(upstream.requests) < len(seeds) / 3
    assert counted[400]
    print(
        f"{len(seeds)} requests, answers by status: {dict(sorted(counted.items()))}, {len(upstream.requests)} forwarded"
    )


@pytest.mark.scenario
async def test_a_thousand_malformed_requests(upstream: ScriptedUpstream, tmp_path: Path, log: io.StringIO) -> None:
    """No 5xx, no trace in the log, nothing malformed forwarded, one closed row for each that was."""
    await check(upstream, tmp_path, log, range(1000))


@pytest.mark.long
async def test_twelve_thousand_malformed_requests(upstream: ScriptedUpstream, tmp_path: Path, log: io.StringIO) -> None:
    await check(upstream, tmp_path, log, range(1000, 13_000))
