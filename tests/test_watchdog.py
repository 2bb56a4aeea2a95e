"""A loop that stands still is told, with the place where it stands; a busy machine is not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.watchdog import ASK_SECONDS, BLOCKED_SECONDS, Spent, Watchdog, held
from tests.harness import gateway_before
from tests.scripted_upstream import ScriptedUpstream

LONG_SECONDS = 0.8


def sleeps_on_the_loop() -> None:
    time.sleep(LONG_SECONDS)


def computes_on_the_loop() -> None:
    """In pieces during which no other thread runs either, as a C parser does."""
    ends_at = time.thread_time() + LONG_SECONDS
    while time.thread_time() < ends_at:
        sum(range(2_000_000))  # a busy machine takes ten times as long, and must still make several pieces


async def told(count: int) -> None:
    """Long enough for the thread to have said what it saw."""
    for _ in range(count):
        await asyncio.sleep(ASK_SECONDS)


@pytest.mark.parametrize("blocks", [sleeps_on_the_loop, computes_on_the_loop])
async def test_a_loop_that_stands_still_is_told_with_its_stack(blocks: Callable[[], None]) -> None:
    """The innermost frames name the culprit; when the loop goes on, that is told with the time it took."""
    with capture_logs() as logs, Watchdog():
        await told(2)
        blocks()
        async with asyncio.timeout(10):
            while not any(line["event"] == "event_loop_free" for line in logs):
                await asyncio.sleep(ASK_SECONDS)
    first = next(line for line in logs if line["event"] == "event_loop_blocked")
    assert any(place.endswith(blocks.__name__) and __file__ in place for place in first["stack"].splitlines())
    freed = [line["blocked_seconds"] for line in logs if line["event"] == "event_loop_free"]
    assert max(freed) >= LONG_SECONDS - BLOCKED_SECONDS


async def test_the_gateway_watches_its_own_loop(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """From its start to its end."""
    with capture_logs() as logs:
        async with gateway_before(upstream.url, tmp_path):
            await told(2)
            sleeps_on_the_loop()
            await told(2)
        ended = len(logs)
        sleeps_on_the_loop()
        await told(2)
    assert "event_loop_blocked" in {line["event"] for line in logs[:ended]}
    assert logs[ended:] == []


async def test_its_end_is_never_waited_for() -> None:
    """Whenever it comes, also just when a sign is asked for that the waiting loop can no more give."""
    started = time.monotonic()
    for pause in range(25):
        with Watchdog():
            await asyncio.sleep(ASK_SECONDS * pause / 12)
    assert time.monotonic() - started < 25 * 10 * ASK_SECONDS


def test_what_the_machine_took_is_no_fault_of_the_loop() -> None:
    """A process that was stopped, a thread without a processor; but a call that let no other thread run is."""
    start = Spent(100.0, 7.0, 3.0)
    assert held(start, Spent(100.0 + ASK_SECONDS, 7.0, 3.0)) == pytest.approx(ASK_SECONDS)  # it sleeps
    assert held(start, Spent(105.0, 7.0, 3.0)) == pytest.approx(ASK_SECONDS)  # all slept
    assert held(start, Spent(105.0, 11.9, 3.0)) == pytest.approx(4.9)  # it ran, and nobody else could
    assert held(start, Spent(105.0, 7.1, 7.9)) == pytest.approx(0.1)  # it was not let run


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it")
async def test_a_thread_that_waits_for_a_processor_is_told_by_the_kernel() -> None:
    """Two that compute on one processor: each waits about as long as it runs."""
    allowed = os.sched_getaffinity(0)
    with Watchdog() as watchdog:
        before = watchdog._spent()
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            for pid in (0, other.pid):
                os.sched_setaffinity(pid, {min(allowed)})
            async with asyncio.timeout(20):
                while watchdog._spent().queued - before.queued < 0.2:
                    sum(range(1_000_000))
                    await asyncio.sleep(0)
        finally:
            os.sched_setaffinity(0, allowed)
            other.kill()
            other.wait()
    assert watchdog._spent().ran > before.ran
