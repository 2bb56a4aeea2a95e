"""The machine fails under a running gateway: nothing is forwarded that cannot be booked, nothing settled is lost.

Disk full, database locked, gone, replaced or read-only, directory gone: each for real, under a process of its own.
The same promise each time (`outage`): new requests get 503 before anything is sent, running answers end whole and are
booked, /readyz tells it, and all comes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import RESPONSES
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED
from tests.scenarios.gateway_child import GatewayChild, gateway_child, until
from tests.scripted_upstream import END, ScriptedUpstream, SeenRequest, Step, chunk, json_answer, sse_head
from tests.store.entries import Elsewhere

pytestmark = pytest.mark.scenario

RUNNING = 6
DISK_BYTES = 6 * 1024 * 1024

Broken = Callable[[Path], contextlib.AbstractContextManager[None]]


# --- ways to break it, and to mend it at the end of the `with` --------------------------------


@contextlib.contextmanager
def disk_full(directory: Path) -> Iterator[None]:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    elsewhere = Elsewhere(directory / "gateway.db")
    try:
        yield
    finally:
        elsewhere.let_go()


@contextlib.contextmanager
def file_gone(directory: Path) -> Iterator[None]:
    path, away = directory / "gateway.db", directory / "away.db"
    path.rename(away)
    try:
        yield
        assert not path.exists()
    finally:
        away.rename(path)


@contextlib.contextmanager
def replaced(directory: Path) -> Iterator[None]:
    path, away = directory / "gateway.db", directory / "away.db"
    path.rename(away)
    path.write_bytes(b"")
    try:
        yield
        assert path.read_bytes() == b""
    finally:
        away.replace(path)


@contextlib.contextmanager
def directory_gone(directory: Path) -> Iterator[None]:
    away = directory.with_name("away")
    directory.rename(away)
    try:
        yield
        assert not directory.exists()
    finally:
        away.rename(directory)


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Immutable files, which refuse also what is already open."""
    files = [str(directory / name) for name in ("gateway.db", "gateway.db-wal")]
    subprocess.run(["chattr", "+i", *files], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


@pytest.fixture(autouse=True)
def _no_prices(upstream: ScriptedUpstream) -> None:
    """The models list is asked for prices beside the requests."""
    upstream.aside(b"/v3/models?output_modalities=text", json_answer([{"id": "other"}]))


# --- the promise ------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    directory = tmp_path / "data"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "irg-test", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize("broken", [locked, file_gone, replaced, directory_gone, read_only])
async def test_an_outage_of_the_database(upstream: ScriptedUpstream, broken: Broken) -> None:
    """503 before anything is forwarded, running answers booked, red and green by itself."""
    # On a disk: in memory a file that was made immutable is written on by who has it open.
    with tempfile.TemporaryDirectory(prefix="irg-outage-", dir="/var/tmp") as parent:
        directory = Path(parent) / "data"
        directory.mkdir()
        await outage(upstream, directory, broken)


async def test_a_full_disk(upstream: ScriptedUpstream, data: Path) -> None:
    """Not a byte of room: running answers still end whole, since the spool has its room already."""
    await outage(upstream, data, disk_full)


async def outage(upstream: ScriptedUpstream, directory: Path, broken: Broken) -> None:
    upstream.otherwise = lambda request: [json_answer(ANSWER)]
    async with gateway_child(upstream.url, directory, {"IRG_SETTLE_WAIT_SECONDS": "0.5"}) as gateway:
        secret = await gateway.create_key(budgets=["5/month"])
        async with running(gateway, upstream, secret) as (go, answers):
            before = len(upstream.requests)
            with broken(directory):
                await refused_until_red(gateway, upstream, secret)
                forwarded = len(upstream.requests) - before
                go.set()
                ended = await asyncio.gather(*answers)
                assert [(status, content.endswith(end)) for status, content, end in ended] == [(200, True)] * RUNNING
                await gateway.until_ready(503)
                assert await asked(gateway, secret) == (503, "ledger_unavailable", "5")
                assert len(upstream.requests) - before == forwarded
            await gateway.until_ready()
        assert await asked(gateway, secret) == (200, "", None)
        rows = await gateway.rows()
        await nothing_lost(gateway, rows, expected=RUNNING + forwarded + 1)
        assert gateway.events().count("ledger_not_writable") == gateway.events().count("ledger_writable") >= 1
    assert len(rows) == len(upstream.requests)


@contextlib.asynccontextmanager
async def running(
    gateway: GatewayChild, upstream: ScriptedUpstream, secret: str
) -> AsyncIterator[tuple[asyncio.Event, list[asyncio.Task[tuple[int, bytes, bytes]]]]]:
    """Answers that are under way until `go` is set: half of them streams, half of them bodies."""
    go = asyncio.Event()
    streamed: list[Step] = [sse_head(), chunk(CREATED), go, chunk(COMPLETED), END]
    ordinary = upstream.otherwise

    def answer(request: SeenRequest) -> list[Step]:
        return streamed if request.json().get("stream") else [go, json_answer(ANSWER)]

    upstream.otherwise = answer
    kinds = [(True, COMPLETED), (False, ANSWER)] * (RUNNING // 2)
    answers = [asyncio.create_task(whole(gateway, secret, stream=stream, end=end)) for stream, end in kinds]
    await upstream.seen(RUNNING)
    upstream.otherwise = ordinary
    try:
        yield go, answers
    finally:
        go.set()
        await asyncio.gather(*answers, return_exceptions=True)


async def whole(gateway: GatewayChild, secret: str, *, stream: bool, end: bytes) -> tuple[int, bytes, bytes]:
    """Status and the whole body. Raises when it is cut."""
    async with client(gateway, secret) as asking:
        answer = await asking.post(RESPONSES, json={"model": "m", "input": "hi", "stream": stream})
        return answer.status_code, answer.content, end


async def asked(gateway: GatewayChild, secret: str) -> tuple[int, str, str | None]:
    """Status, error code and retry-after of one request."""
    async with client(gateway, secret) as asking:
        answer = await asking.post(RESPONSES, json={"model": "m", "input": "hi"})
    code = "" if answer.status_code == 200 else str(answer.json()["error"]["code"])
    return answer.status_code, code, answer.headers.get("retry-after")


def client(gateway: GatewayChild, secret: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, verify=False, timeout=30)


async def refused_until_red(gateway: GatewayChild, upstream: ScriptedUpstream, secret: str) -> None:
    """Each request is forwarded and answered, or refused and not forwarded; in the end they are refused."""

    async def refused() -> bool:
        before = len(upstream.requests)
        status, code, retry_after = await asked(gateway, secret)
        if status == 200:  # what room was left in the database's own files
            return False
        assert (status, code, retry_after) == (503, "ledger_unavailable", "5")
        assert len(upstream.requests) == before
        return True

    await until(refused, 60)


async def nothing_lost(gateway: GatewayChild, rows: list[dict[str, Any]], expected: int) -> None:
    """One row for each that was forwarded, settled with what it cost; the budget says the same."""
    assert len(rows) == expected
    assert {row["state"] for row in rows} == {"settled"}, [row for row in rows if row["state"] != "settled"]
    costs = {"0.25" if row["stream"] else "0.0000123" for row in rows}
    assert {row["true_cost"] for row in rows} == costs
    (budget,) = (await gateway.key())["budgets"]
    assert Decimal(budget["held"]) == 0
    assert Decimal(budget["spent"]) == sum(Decimal(row["charged"]) for row in rows)
