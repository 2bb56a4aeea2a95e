"""The corpus of odd requests behind real proxies: front and gateway never count requests differently."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import structlog

from tests.harness import RESPONSES, gateway_before
from tests.proxy.guard.corpus import Case, corpus
from tests.scenarios.fronts import front_before
from tests.scripted_upstream import ScriptedUpstream, SeenRequest, Step, json_answer

pytestmark = pytest.mark.scenario

PATIENCE_SECONDS = 30.0
MODEL = re.compile(rb'"model": ?"([a-z]\d{3})"')
LAST = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"


def echo(request: SeenRequest) -> list[Step]:
    return [json_answer({"id": "resp_1", "model": json.loads(request.body)["model"], "usage": {"cost": 0.1}})]


async def all_that_comes(port: int, sent: bytes) -> bytes:
    """Every byte that a client gets, to the connection's end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    received = b""
    try:
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while more := await reader.read(2**16):
                received += more
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return received


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
async def test_front_and_gateway_never_disagree(upstream: ScriptedUpstream, tmp_path: Path, kind: str) -> None:
    """Whatever the front makes of a case: what the upstream was asked is what this client was answered, in this order,
    with the bodies that it sent; and the next clients, on the same connection to the gateway, get their own answers."""
    upstream.otherwise = echo
    async with gateway_before(upstream.url, tmp_path, client_stall_seconds=2) as gateway:
        secret = await gateway.create_key()
        with (
            structlog.testing.capture_logs() as logged,
            front_before(kind, urlsplit(gateway.url).netloc, tmp_path) as port,
        ):
            differences = [found for case in corpus() if (found := await _run(case, port, secret, upstream))]
            assert differences == []
    assert [event for event in logged if event["log_level"] in ("error", "critical")] == []
    assert len(upstream.requests) > 2 * len(corpus())


async def _run(case: Case, port: int, secret: str, upstream: ScriptedUpstream) -> str | None:
    before = len(upstream.requests)
    received = await all_that_comes(port, case.request(secret) + LAST)
    answered = MODEL.findall(received)
    asked = [request.body for request in upstream.requests[before:]]
    known = {case.model_body(kind).encode() for kind in "bnx"}
    if [MODEL.findall(body) for body in asked] != [[model] for model in answered]:
        return f"{case.about}: the upstream was asked {asked}, the client was answered {answered}"
    if not {body.rstrip(b"\r\n") for body in asked} <= known:
        return f"{case.about}: the upstream was asked {asked}"
    for kind in "pq":
        body = case.model_body(kind)
        head = f"POST {RESPONSES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n"
        probe = await all_that_comes(port, f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if MODEL.findall(probe) != MODEL.findall(body.encode()):
            return f"{case.about}: the next client was answered {probe!r}"
    return None
