"""What is said stays between the client and the upstream: no prompt, no answer and no secret is logged or stored."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app import telemetry
from tests.harness import UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.proxy.test_passthrough import COMPLETED, event
from tests.scripted_upstream import CLOSE, END, RESET, ScriptedUpstream, Step, chunk, head, json_answer, sse_head

PROMPT, ANSWER, NOTE = "the-prompt-d41d8cd9", "the-answer-8f00b204", "the-error-e9800998"

DELTA = chunk(event("response.output_text.delta", delta=ANSWER))
BODY = {"id": "resp_1", "model": "m", "output": [{"text": ANSWER}], "usage": {"cost": 0.5}}
ANSWERS: list[list[Step]] = [
    [json_answer(BODY)],
    [sse_head(), DELTA, chunk(COMPLETED), END],
    [sse_head(), DELTA, RESET],
    [head(200, [("Content-Length", "500")]) + b'{"output":"' + ANSWER.encode(), CLOSE],
    [json_answer({"error": {"message": f"{NOTE} {PROMPT}"}}, 400)],
    [json_answer({"error": {"message": f"{NOTE} {UPSTREAM_KEY}"}}, 401)],
    [head(500, [("Content-Length", str(len(NOTE)))]) + NOTE.encode()],
    [f"{NOTE} {PROMPT}\r\n\r\n".encode(), CLOSE],
]
# Refused: no JSON, a policy field twice, a model that is not allowed, another's response.
REFUSED = [
    f'{{"model":"m","input":"{PROMPT}"'.encode(),
    f'{{"model":"m","input":"{PROMPT}","stream":true,"stream":false}}'.encode(),
    f'{{"model":"other","input":"{PROMPT}"}}'.encode(),
    f'{{"model":"m","input":"{PROMPT}","previous_response_id":"resp_none"}}'.encode(),
]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that can be logged, and no mask over it."""
    before, handlers, level = structlog.get_config(), list(logging.getLogger().handlers), logging.getLogger().level
    stream = io.StringIO()
    telemetry.configure("debug", stream=stream)
    yield stream
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


async def _ask(gateway: GatewayUnderTest, secret: str, body: bytes) -> None:
    async with gateway.connect() as reply:
        head = f"POST /v1/openai/responses HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {secret}\r\n"
        reply.writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert await reply.reader.read()


async def test_nothing_that_is_said_is_logged_or_stored(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, log: io.StringIO
) -> None:
    """Answered, refused, failed and broken: neither the log nor any file of the ledger has a word of it."""
    async with gateway_before(upstream.url, tmp_path, front=front) as gateway:
        secret = await gateway.create_key(models=("m",))
        for steps in ANSWERS:
            upstream.answer(*steps)
            await _ask(gateway, secret, f'{{"model":"m","input":"{PROMPT}","stream":true}}'.encode())
        for body in REFUSED:
            await _ask(gateway, secret, body)
        await _ask(gateway, secret[:-1] + "0", REFUSED[0])
        assert len(await gateway.settled(len(ANSWERS))) == len(ANSWERS)
        stored = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert log.getvalue().count('"event":"request"') == len(ANSWERS)
    assert b"resp_1" in b"".join(stored.values())  # the rows are among them
    for said in (PROMPT, ANSWER, NOTE, secret, secret[-20:], UPSTREAM_KEY):
        assert said not in log.getvalue()
        assert [name for name, content in stored.items() if said.encode() in content] == []
