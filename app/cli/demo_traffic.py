"""The team that the demo plays: a trickle of requests through the gateway, as real clients send them.

A plain client of the gateway: it knows a URL and team keys, nothing of its inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence

import httpx

# One request at a time: at most one in each pause, so never more than two a second.
PAUSE_SECONDS = (0.5, 2.5)

_MODELS = {  # and how often of a hundred
    "openai/gpt-4o-mini": 36,
    "openai/gpt-5-mini": 20,
    "anthropic/claude-haiku-4.5": 18,
    "google/gemini-2.5-flash": 14,
    "mistralai/mistral-small": 10,
    "sim/no-cost": 2,  # now and then the upstream keeps a cost to itself
}
_PROMPTS = (
    "Summarise the release notes in two sentences.",
    "Translate 'good morning' into Portuguese.",
    "Suggest a name for a tool that waters plants.",
    "Why does this test fail only on Mondays?",
    "Write a commit message for a fixed typo.",
    "Explain half-open intervals to a colleague.",
)
# So many requests in a hundred are streamed; so many of those are left by their client before the end.
_STREAMED_PERCENT = 50
_LEFT_PERCENT = 10


async def trickle(url: str, team_secrets: Sequence[str], *, until: asyncio.Event) -> None:
    """Sends requests until `until` is set; what a request meets is the gateway's to log, not ours to mend."""
    choice = random.Random()  # noqa: S311 - variety, no secret
    limits = httpx.Limits(max_connections=2)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, limits=limits) as client:
        while not until.is_set():
            with contextlib.suppress(httpx.HTTPError):
                await _request(client, choice.choice(team_secrets), choice)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), choice.uniform(*PAUSE_SECONDS))


async def _request(client: httpx.AsyncClient, secret: str, choice: random.Random) -> None:
    streamed = choice.randrange(100) < _STREAMED_PERCENT
    leaves = streamed and choice.randrange(100) < _LEFT_PERCENT
    (model,) = choice.choices(list(_MODELS), weights=list(_MODELS.values()))
    body = {"model": model, "input": choice.choice(_PROMPTS), "stream": streamed}
    headers = {"authorization": f"Bearer {secret}"}
    async with client.stream("POST", "/v1/openai/responses", json=body, headers=headers) as answer:
        async for _ in answer.aiter_raw():
            if leaves:
                return
