"""The corpus of odd requests against the gateway itself: see `corpus.txt`."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
import structlog

from app.proxy.guard import closing, protocol
from tests.harness import GatewayUnderTest, gateway_before
from tests.proxy.guard.corpus import Case, answers, corpus, is_closed
from tests.scripted_upstream import ScriptedUpstream, SeenRequest, Step, json_answer

AT_ONCE = 16
PATIENCE_SECONDS = 60.0


def echo(request: SeenRequest) -> list[Step]:
    return [json_answer({"id": "resp_1", "model": json.loads(request.body)["model"], "usage": {"cost": 0.1}})]


def test_the_corpus_is_large_enough() -> None:
    """And no case stands in it twice."""
    cases = corpus()
    assert len(cases) >= 150
    assert len({case.sent for case in cases}) == len({case.about for case in cases}) == len(cases)


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
async def test_every_case_is_as_it_is_told(
    upstream: ScriptedUpstream,
    tmp_path: Path,
    front: str,
    pieces: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Status, connection and what the upstream saw, however the bytes are cut; and no fault of our own."""
    # Single bytes take long on a busy machine: there, time is not what is judged.
    seconds, cases = 5.0, corpus()
    if pieces != "whole":
        seconds, cases = 120.0, [case for case in cases if "408" not in case.told]
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", seconds)
    monkeypatch.setattr(closing, "CLOSE_LINGER_SECONDS", PATIENCE_SECONDS)
    upstream.otherwise = echo
    async with gateway_before(upstream.url, tmp_path, front=front, client_stall_seconds=seconds / 2) as gateway:
        secret = await gateway.create_key()
        places = asyncio.Semaphore(AT_ONCE)
        with structlog.testing.capture_logs() as logged, caplog.at_level(logging.WARNING):
            found = await asyncio.gather(*(_run(case, gateway, secret, pieces, places) for case in cases))
    differences = [
        f"{case.about}: told {told}, seen {case.among(upstream.requests)}"
        for case, told in zip(cases, found, strict=True)
        if told != case.told or case.among(upstream.requests) != case.seen_bodies
    ]
    assert differences == []
    assert len(upstream.requests) == sum(len(case.seen_bodies) for case in cases)
    assert [event for event in logged if event["log_level"] in ("warning", "error", "critical")] == []
    assert caplog.records == []


async def _run(case: Case, gateway: GatewayUnderTest, secret: str, pieces: str, places: asyncio.Semaphore) -> str:
    sent = case.request(secret)
    async with places, gateway.connect() as reply:
        try:
            for piece in [sent] if pieces == "whole" else [sent[at : at + 1] for at in range(len(sent))]:
                if reply.writer.transport.is_closing():
                    break  # the rest is not wanted
                reply.writer.write(piece)
                await asyncio.sleep(0)
            statuses = await answers(reply, len(case.statuses), PATIENCE_SECONDS)
            closed = await is_closed(reply, PATIENCE_SECONDS)
        except (AssertionError, TimeoutError) as error:
            return f"{type(error).__name__} {error}"
    return " ".join([*map(str, statuses), "closed" if closed else "kept"])
