"""What `IRG_DURABILITY` promises, seen from below: what the process asks of the system, and in which order.

Whether a disk keeps what it said it has cannot be shown without pulling a plug. That nothing is promised before the
disk has said so can.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from app.simulator.child import SimulatorChild
from tests.harness import UPSTREAM_KEY
from tests.scenarios.gateway_process import gateway_process
from tests.scenarios.traced import STRACE, Exchange, disorder, read_calls, read_trace

pytestmark = pytest.mark.scenario

REQUESTS = 8


async def traced(directory: Path, durability: str, transport: str) -> tuple[Path, list[Exchange], int]:
    """A few requests, one after the other, through a gateway under strace: what it told, and who asked."""
    trace = directory / "trace.txt"
    settings = {"IRG_DURABILITY": durability, "IRG_UPSTREAM_TRANSPORT": transport}
    with SimulatorChild(directory / "bill.jsonl", expected_key=UPSTREAM_KEY) as simulator:
        async with gateway_process(directory, simulator.url, **settings) as gateway:
            await gateway.start(*STRACE, "-o", str(trace))
            headers = {"authorization": f"Bearer {await gateway.create_key('alice')}"}
            async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as client:
                exchanges = [await exchanged(client, number) for number in range(REQUESTS)]
            assert await gateway.end() == 0
            async with asyncio.timeout(30):  # strace writes on for a moment
                while not re.search(rf"^{gateway.process.pid} +\+{{3}} exited", trace.read_text("utf-8"), re.MULTILINE):
                    await asyncio.sleep(0.05)
    return trace, exchanges, gateway.port


async def exchanged(client: httpx.AsyncClient, number: int) -> Exchange:
    stream, marker = number % 2 == 0, f"traced-{number}"
    body = {"model": "openai/gpt-4o-mini", "input": "Say hello", "stream": stream}
    answer = await client.post("/v1/openai/responses", json=body, headers={"x-stainless-marker": marker})
    assert answer.status_code == 200
    if stream:
        assert b"event: response.completed" in answer.content
        end = "event: response.completed"
    else:
        # The only bytes of it that no earlier write to this client can hold.
        end = json.dumps(answer.json()["id"])[1:-1]
    return Exchange(answer.headers["x-irg-request-id"], marker, end)


@pytest.mark.parametrize("transport", ["direct", "httpx"])
async def test_with_power_all_is_on_the_disk_before_it_counts(tmp_path: Path, transport: str) -> None:
    """The intent before the request goes up, the cost before the answer's end goes down."""
    trace, exchanges, port = await traced(tmp_path, "power", transport)
    assert list(disorder(read_trace(trace), exchanges, port=port, synced=True)) == []


async def test_with_process_all_is_written_before_it_counts(tmp_path: Path) -> None:
    """In the system's hands, where a killed process cannot lose it; not on the disk, so the look above can fail."""
    trace, exchanges, port = await traced(tmp_path, "process", "direct")
    calls = read_trace(trace)
    assert list(disorder(calls, exchanges, port=port, synced=False)) == []
    assert len(list(disorder(calls, exchanges, port=port, synced=True))) == 2 * REQUESTS


IN_ORDER = r"""
7 pwrite64(5</d/gateway.db-wal>, "\0\1req_1", 4096, 0) = 4096
7 fdatasync(5</d/gateway.db-wal> <unfinished ...>
6 write(9<TCP:[127.0.0.1:8000->127.0.0.1:5]>, "HTTP/1.1 200", 12) = 12
7 <... fdatasync resumed>) = 0
6 write(8<TCP:[127.0.0.1:3->127.0.0.1:4]>, "POST / HTTP/1.1\r\nx-stainless-marker: a\r\n", 40) = 40
7 pwrite64(5</d/gateway.db-wal>, "\0\1req_1", 4096, 0) = 4096
7 fdatasync(5</d/gateway.db-wal>) = 0
6 write(9<TCP:[127.0.0.1:8000->127.0.0.1:5]>, "the end", 7) = 7
""".strip().splitlines()


@pytest.mark.parametrize(
    ("order", "faults"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 0),
        ([0, 1, 2, 4, 3, 5, 6, 7], 1),  # forwarded while the disk was still at work
        ([4, 0, 1, 2, 3, 5, 6, 7], 1),
        ([0, 1, 2, 3, 4, 5, 7, 6], 1),
        ([0, 1, 2, 3, 4, 7, 5, 6], 1),
        ([1, 3, 0, 4, 6, 7, 5], 2),
        ([4, 7], 2),
    ],
)
def test_every_other_order_is_told(order: list[int], faults: int) -> None:
    """As strace would tell of a gateway that forwards, or answers, too early."""
    calls = read_calls([IN_ORDER[line] for line in order])
    assert len(list(disorder(calls, [Exchange("req_1", "a", "the end")], port=8000, synced=True))) == faults
