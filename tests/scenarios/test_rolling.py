"""Restarts: two gateways behind nginx, one after the other, without a failed call; one alone, with a short gap."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.records import State
from app.core.views import RequestRecord
from app.simulator.bill import Bill
from app.simulator.child import SimulatorChild
from tests.harness import UPSTREAM_KEY
from tests.judge import judge
from tests.scenarios.gateway_process import READY_SECONDS_MAX_BESIDE_OTHERS, GatewayProcess, gateway_process
from tests.scenarios.judgement import ledger_rows
from tests.scenarios.nginx import checked, configured, nginx_before, tls_files
from tests.scenarios.tools import CLIENTS

pytestmark = pytest.mark.scenario

KEYS = 6


async def create_on_both(gateways: Sequence[GatewayProcess]) -> list[str]:
    """As the README tells: made on the first, given to the second; by the command line, then by the API."""
    first, second = gateways
    code, secret = await first.irg("keys", "create", "alice")
    assert code == 0
    assert await second.irg("keys", "create", "alice", "--secret-stdin", given=secret) == (0, secret)
    secrets = [secret.strip()]
    for number in range(1, KEYS):
        secrets.append(await first.create_key(f"key-{number}"))
        assert await second.create_key(f"key-{number}", secret=secrets[-1]) == secrets[-1]
    return secrets


async def rolled(directory: Path, rounds: int) -> str:
    """Each gateway ended and started so many times, in turn, under the SDK's load."""
    with SimulatorChild(directory / "bill.jsonl", expected_key=UPSTREAM_KEY) as simulator:
        for name in "ab":
            (directory / name).mkdir()
        async with (
            gateway_process(directory / "a", simulator.url) as first,
            gateway_process(directory / "b", simulator.url) as second,
            nginx_before(directory, (first.port, second.port)) as url,
        ):
            gateways = (first, second)
            for gateway in gateways:
                await gateway.start()
            client = await asking(url, await create_on_both(gateways))
            for _ in range(rounds):
                for gateway in gateways:
                    assert await gateway.end() == 0
                    await gateway.start()
            told = await answers(client)
            for gateway in gateways:
                assert await gateway.end() == 0
            ledgers = [await ledger_rows(gateway.database) for gateway in gateways]
        assert told["failed"] == []
        assert_booked_once(told["answered"], ledgers, simulator.bill())
    assert min(map(len, ledgers)) > 0
    shares = " and ".join(str(len(rows)) for rows in ledgers)
    again = sum(row.sdk_retry > 0 for rows in ledgers for row in rows)
    return (
        f"{2 * rounds} restarts: {len(told['answered'])} calls, none failed, {again} sent again by the SDK; "
        f"{shares} rows, each once on the bill"
    )


async def asking(url: str, secrets: Sequence[str]) -> asyncio.subprocess.Process:
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", str(CLIENTS / "rolling.py")),
        env={"PATH": os.environ["PATH"], "BASE_URL": url + "/v1/openai", "API_KEYS": " ".join(secrets)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert client.stdout is not None
    assert await asyncio.wait_for(client.stdout.readline(), 60) == b"ready\n"
    return client


async def answers(client: asyncio.subprocess.Process) -> dict[str, Any]:
    out, _ = await asyncio.wait_for(client.communicate(b""), 60)
    told: dict[str, Any] = json.loads(out)
    return told


def assert_booked_once(answered: Sequence[str], ledgers: Sequence[Sequence[RequestRecord]], bill: Bill) -> None:
    """Every call is one row of one ledger and one line of the bill, with the same costs."""
    rows = {row.response_id: row for ledger in ledgers for row in ledger}
    lines = {line.response_id: line for line in bill.answers}
    assert len(rows) == sum(map(len, ledgers))
    assert len(lines) == len(bill.answers)
    assert set(answered) == rows.keys() == lines.keys()
    assert len(answered) == len(rows)
    for response_id, row in rows.items():
        assert row.state is State.SETTLED
        judge(row, lines[response_id or ""])


async def test_two_gateways_are_restarted_in_turn_without_a_failed_call(tmp_path: Path) -> None:
    """Twice each."""
    print(await rolled(tmp_path, 2))


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_two_gateways_are_restarted_ten_times_each(tmp_path: Path) -> None:
    print(await rolled(tmp_path, 10))


async def test_the_configuration_is_one_that_nginx_takes(tmp_path: Path) -> None:
    """As it is shipped, but for the paths of its certificate; without a warning."""
    whole = configured(tmp_path, tls_files())
    assert await checked(whole) == ""


async def test_where_no_gateway_answers_nginx_says_so_as_one_would(tmp_path: Path) -> None:
    """In OpenAI's shape. What never reached a gateway may be sent again; what did reach one must not be."""
    silent = await asyncio.start_server(_cut, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    try:
        for ports, retry in (((1, 2), None), ((port, port), "false")):
            async with nginx_before(tmp_path, ports) as url, httpx.AsyncClient(trust_env=False) as client:
                answer = await client.post(url + "/v1/openai/responses", json={"model": "m"})
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "no_gateway"
            assert answer.headers.get("x-should-retry") == retry
            assert answer.headers["retry-after"] == "2"
    finally:
        silent.close()


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads a request and answers nothing."""
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_one_gateway_alone_is_away_for_a_moment(tmp_path: Path) -> None:
    """From the signal until the next one listens, as a service manager restarts it: how long is measured."""
    gaps: list[float] = []
    async with gateway_process(tmp_path, "http://127.0.0.1:9") as gateway:
        await gateway.start()
        for _ in range(3):
            told = time.monotonic()
            assert await gateway.end() == 0
            start = await gateway.start()
            gaps.append(time.monotonic() - told)
            assert start.own_seconds <= READY_SECONDS_MAX_BESIDE_OTHERS
    print(f"away for at most {max(gaps):.2f} s")
