"""A gateway out of file descriptors, and one whose clock jumps: nothing lost, and well again by itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.harness import RESPONSES
from tests.proxy.test_passthrough import ANSWER
from tests.scenarios.gateway_child import GatewayChild, gateway_child, until
from tests.scenarios.test_machine_faults import asked, client, nothing_lost, running
from tests.scripted_upstream import ScriptedUpstream, json_answer

pytestmark = pytest.mark.scenario

DESCRIPTORS = 60
KNOCKS = 100


@pytest.fixture(autouse=True)
def _models_without_prices(upstream: ScriptedUpstream) -> None:
    upstream.aside(b"/v3/models?output_modalities=text", json_answer([{"id": "other"}]))
    upstream.otherwise = lambda request: [json_answer(ANSWER)]


# --- file descriptors -------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def knocking(gateway: GatewayChild) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """More connections than it can have open; they ask for nothing."""
    host, port = gateway.url.removeprefix("http://").split(":")
    writers = []
    for _ in range(KNOCKS):
        with contextlib.suppress(OSError):
            writers.append((await asyncio.open_connection(host, port))[1])
    try:
        yield writers
    finally:
        for writer in writers:
            writer.transport.abort()


async def test_out_of_file_descriptors(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Running answers end whole and booked; who cannot be served is told or dropped; then all is as before."""
    directory = tmp_path / "data"
    directory.mkdir()
    async with gateway_child(upstream.url, directory, descriptors_max=DESCRIPTORS) as gateway:
        secret = await gateway.create_key(budgets=["5/month"])
        # One that was let in before, with its key known, and without a connection upstream to use again.
        async with client(gateway, secret) as inside, running(gateway, upstream, secret) as (go, answers):
            assert (await inside.get("/healthz")).status_code == 200
            async with knocking(gateway):
                answer = await inside.post(RESPONSES, json={"model": "m", "input": "hi"})
                assert answer.status_code in (502, 503), answer.text
                assert answer.json()["error"]["code"] in ("upstream_unreachable", "ledger_unavailable")
                assert "x-should-retry" not in answer.headers
                go.set()
                ended = await asyncio.gather(*answers)
                assert {(status, content.endswith(end)) for status, content, end in ended} == {(200, True)}
        await gateway.until_ready()

        async def served() -> bool:
            return await asked(gateway, secret) == (200, "", None)

        await until(served)
        rows = [row for row in await gateway.rows() if row["state"] != "free"]
        await nothing_lost(gateway, rows, expected=len(upstream.requests))


# --- the clock ---------------------------------------------------------------------------------


class Clock:
    """The machine's clock as a gateway sees it: a file says how far it is from the true one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(timedelta())

    def set(self, away: timedelta) -> None:
        # Replaced as a whole: a half written file would be another time.
        new = self._file.with_suffix(".new")
        new.write_text(f"{away.total_seconds():+.0f}s")
        new.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert libraries, "libfaketime is missing: run .ci/engine"
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


async def test_a_clock_that_jumps(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Two days forwards under running answers, and back: windows are those of admission, and nobody is locked out."""
    directory = tmp_path / "data"
    directory.mkdir()
    clock = Clock(tmp_path / "clock")
    async with gateway_child(upstream.url, directory, clock.environment) as gateway:
        secret = await gateway.create_key(budgets=["5/day"], rpm=100)
        async with running(gateway, upstream, secret) as (go, answers):
            clock.set(timedelta(days=2))
            assert await asked(gateway, secret) == (200, "", None)  # in the window of the day after tomorrow
            (later,) = (await gateway.key())["budgets"]
            go.set()
            await asyncio.gather(*answers)
        rows = await gateway.rows()
        assert {row["state"] for row in rows} == {"settled"}
        # What was admitted two days before is booked there: this window holds its own request alone.
        (after,) = (await gateway.key())["budgets"]
        assert (Decimal(after["spent"]), Decimal(after["held"])) == (Decimal("0.0001"), Decimal(0))
        assert after["resets_at"] == later["resets_at"]
        days = [datetime.fromisoformat(row["created_at"]).date() for row in rows]
        assert max(days) - min(days) == timedelta(days=2)
        clock.set(timedelta())
        (now,) = (await gateway.key())["budgets"]
        before = [row for row, day in zip(rows, days, strict=True) if day == min(days)]
        assert Decimal(now["spent"]) == sum(Decimal(row["charged"]) for row in before)
        for away in (timedelta(), timedelta(days=-1), timedelta(hours=3), timedelta()):
            clock.set(away)
            started = time.monotonic()
            assert await asked(gateway, secret) == (200, "", None)
            assert time.monotonic() - started < 10  # no wait is measured by that clock
            assert await gateway.readyz() == 200
        rows = await gateway.rows()
        assert {row["state"] for row in rows} == {"settled"}
        assert all(row["duration_ms"] < 60_000 for row in rows)
    assert len(rows) == len(upstream.requests)
    assert datetime.now(UTC) > datetime.fromisoformat(min(row["created_at"] for row in rows))
