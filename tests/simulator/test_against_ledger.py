"""The ledger before the judge: whatever a simulated model does, the gateway's rows say what its bill says.

Every behaviour, by model name and by header, streamed and not.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.simulator.behaviours import By
from app.simulator.models import GROUPS
from app.simulator.registry import REGISTRY
from app.simulator.request import SIMULATE_HEADER
from tests.harness import RESPONSES, UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.judge import judge
from tests.simulated_upstream import QUICK, SimulatorUnderTest

# Silence ends after so long, before the upstream's head and after it: soon where it is meant; elsewhere the machine
# has other things to do.
SILENCE_SECONDS, PATIENCE_SECONDS = 2.0, 50.0
AT_ONCE = 48

# What the gateway answers itself, because nothing of the upstream's may pass. The status it tells then.
REPLACED = {
    **dict.fromkeys(GROUPS["errors"].keys() & {"sim/401", "sim/redirect", "sim/redirect-308"}, 502),
    "sim/html-error": 502,
    "sim/html-404": 502,
    "sim/empty-500": 500,
    "sim/empty-404": 502,
    "sim/text-500": 500,
    "sim/garbage": 502,
    "sim/bad-header": 502,
    "sim/half-head": 502,
    "sim/two-lengths": 502,
    "sim/header-flood": 502,
    "sim/cut-before-headers": 502,
    "sim/reset-before-headers": 502,
    "sim/stall-before-headers": 504,
}
# Where the upstream's answer has no proper end: a stream is cut, a body becomes an error.
BROKEN = {
    "sim/length-too-long",
    "sim/cut-midstream",
    "sim/reset-midstream",
    "sim/stall",
    "sim/half-event",
    "sim/half-event-reset",
    "sim/half-event-stall",
    "sim/half-chunk",
    "sim/bad-chunk",
    "sim/cut-inside-terminal",
    "sim/cut-after-terminal",
    "sim/open-after-terminal",
    "sim/close-delimited-cut",
}
BROKEN_STREAMS = {"sim/cut-before-terminal", "sim/stall-before-terminal"}
WITHHELD = {"sim/key-in-body", "sim/key-in-pieces"}
SHORTENED = {"sim/length-too-short"}  # the client gets what the length said, no byte of the rest


@dataclass(frozen=True)
class Case:
    """One request: a behaviour, asked for by model name or by header."""

    name: str
    by_header: bool
    stream: bool

    @property
    def marker(self) -> str:
        return f"{self.name} {'by header' if self.by_header else 'by name'} {'stream' if self.stream else 'body'}"

    @property
    def falls_silent(self) -> bool:
        return REGISTRY[self.name].ending.by is By.SILENCE

    @property
    def breaks(self) -> bool:
        return self.name in BROKEN or (self.stream and self.name in BROKEN_STREAMS)


@dataclass(frozen=True)
class Got:
    """What the client got."""

    status: int
    request_id: str
    content: bytes
    cut: bool
    headers: httpx.Headers


def cases(names: Sequence[str]) -> list[Case]:
    return [Case(name, by_header, stream) for name in names for by_header in (False, True) for stream in (False, True)]


@pytest.mark.parametrize("group", GROUPS)
async def test_the_ledger_knows_of_every_behaviour_what_the_bill_tells(
    simulator: SimulatorUnderTest, tmp_path: Path, front: str, group: str
) -> None:
    """And the client has every byte of an answer that passes."""
    todo = cases(list(GROUPS[group]))
    for silent, seconds in ((True, SILENCE_SECONDS), (False, PATIENCE_SECONDS)):
        some = [case for case in todo if case.falls_silent is silent]
        if some:
            await _play(simulator, tmp_path / str(silent), some, seconds, front)


async def _play(
    simulator: SimulatorUnderTest, directory: Path, todo: Sequence[Case], patience_seconds: float, front: str
) -> None:
    directory.mkdir()
    silence: dict[str, Any] = {"upstream_idle_seconds": patience_seconds, "upstream_timeout_seconds": patience_seconds}
    mark = directory.parent.name
    async with gateway_before(simulator.url, directory, front=front, **silence) as gateway:
        got = await _ask_all(gateway, todo, mark)
        await gateway.settled(len(todo))
        rows = {row.id: row for row in await gateway.rows()}
    lines = {line.marker: line for line in simulator.bill().answers}
    assert len(rows) == len(todo)
    for case, answer in zip(todo, got, strict=True):
        line = lines[f"{mark} {case.marker}"]
        judge(rows[answer.request_id], line)
        _check_bytes(case, answer, line.body_sha256)


async def _ask_all(gateway: GatewayUnderTest, todo: Sequence[Case], mark: str) -> list[Got]:
    room = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=None)
    secret = await gateway.create_key()
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(
        base_url=gateway.url, headers=headers, trust_env=False, verify=False, timeout=60, limits=limits
    ) as client:
        return await asyncio.gather(*(_ask(client, room, case, mark) for case in todo))


async def _ask(client: httpx.AsyncClient, room: asyncio.Semaphore, case: Case, mark: str) -> Got:
    name = QUICK.get(case.name, case.name)
    headers = {"x-stainless-marker": f"{mark} {case.marker}"}
    if case.by_header:
        headers[SIMULATE_HEADER] = name.removeprefix("sim/")
    model = "openai/gpt-4o-mini" if case.by_header else name
    body = {"model": model, "input": "What is on the bill?", "stream": case.stream}
    content, cut = b"", False
    async with room, client.stream("POST", RESPONSES, json=body, headers=headers) as answer:
        try:
            async for chunk in answer.aiter_raw():
                content += chunk
        except (httpx.RemoteProtocolError, httpx.ReadError):
            cut = True
    return Got(answer.status_code, answer.headers["x-irg-request-id"], content, cut, answer.headers)


def _check_bytes(case: Case, got: Got, sent_sha256: str | None) -> None:
    assert UPSTREAM_KEY.encode() not in got.content
    assert UPSTREAM_KEY not in str(got.headers)
    if case.name in REPLACED:
        assert (got.status, got.cut) == (REPLACED[case.name], False), case
        assert got.headers["x-error-source"] == "gateway"
    elif case.name in WITHHELD:
        assert got.cut if case.stream else got.status == 502, case
    elif case.breaks:
        assert got.cut or got.status in (502, 504), case
    else:
        assert not got.cut, case
        same = hashlib.sha256(got.content).hexdigest() == sent_sha256
        assert same or case.name in SHORTENED, case


def test_every_exception_above_is_a_behaviour() -> None:
    """No name is left behind when a row goes."""
    assert REPLACED.keys() | BROKEN | BROKEN_STREAMS | WITHHELD | SHORTENED | QUICK.keys() <= REGISTRY.keys()
