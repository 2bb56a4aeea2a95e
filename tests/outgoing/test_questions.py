"""The question about credits: one GET, with the upstream key, to the upstream alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.accounts.catalog import FetchFailed
from app.outgoing.questions import CREDITS_BYTES_MAX, fetch_credits
from tests.harness import UPSTREAM_KEY, settings_for
from tests.scripted_upstream import CA_FILE, CLOSE, ScriptedUpstream, Step, head, json_answer

ANSWER = b'{"remaining_credits":"25.5000"}'


async def test_it_is_asked_with_the_upstream_key(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.answer(json_answer(ANSWER))
    assert await fetch_credits(settings_for(upstream.url, tmp_path), UPSTREAM_KEY.encode()) == ANSWER
    request = await upstream.seen()
    assert (request.method, request.target) == (b"GET", b"/v1/credits")
    assert request.header(b"authorization") == f"Bearer {UPSTREAM_KEY}".encode()


async def test_its_certificates_are_the_upstreams(tmp_path: Path) -> None:
    """The same trust as for the requests of clients."""
    async with ScriptedUpstream(tls=True) as upstream:
        upstream.answer(json_answer(ANSWER))
        settings = settings_for(upstream.url, tmp_path, upstream_ca_file=CA_FILE)
        assert await fetch_credits(settings, b"key") == ANSWER


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([json_answer({"error": {"message": UPSTREAM_KEY}}, 401)], "answered 401 when asked for its credits"),
        ([head(302, [("Location", "/elsewhere"), ("Content-Length", "0")])], "answered 302"),
        ([json_answer(b" " * (CREDITS_BYTES_MAX + 1))], "too large"),
        ([CLOSE], "could not be reached"),
    ],
    ids=["refused", "redirect", "large", "broken"],
)
async def test_what_fails_is_told_in_fixed_words(
    upstream: ScriptedUpstream, tmp_path: Path, steps: list[Step], says: str
) -> None:
    upstream.answer(*steps)
    with pytest.raises(FetchFailed, match=says) as told:
        await fetch_credits(settings_for(upstream.url, tmp_path), UPSTREAM_KEY.encode())
    assert UPSTREAM_KEY not in str(told.value)
    assert len(upstream.requests) == 1
