"""Every create-parameter of the installed OpenAI SDK, and one that nobody knows yet, reaches the upstream unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.harness import gateway_before
from tests.proxy.sdk_samples import create_parameters, samples
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED
from tests.scripted_upstream import END, ScriptedUpstream, chunk, json_answer, sse_head

# The two that say something about other responses or later ones, as far as they pass.
OWN_RESPONSE, NOT_IN_THE_BACKGROUND = ["resp_1", None], [False, None]


def values(name: str, hint: Any) -> list[Any]:
    exceptions: dict[str, list[Any]] = {"previous_response_id": OWN_RESPONSE, "background": NOT_IN_THE_BACKGROUND}
    return exceptions.get(name) or list(samples(hint))


async def test_every_parameter_crosses_byte_for_byte(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """Each in every shape that its type allows, plain and streamed."""
    sent: list[bytes] = []

    async def note(request: httpx.Request) -> None:
        sent.append(request.content)

    async with gateway_before(upstream.url, tmp_path, front=front, unknown_references="allow") as gateway:
        secret = await gateway.create_key()
        async with (
            DefaultAsyncHttpxClient(trust_env=False, verify=False, event_hooks={"request": [note]}) as http_client,
            AsyncOpenAI(base_url=gateway.base_url, api_key=secret, http_client=http_client, max_retries=0) as client,
        ):
            upstream.answer(json_answer(ANSWER))
            await client.responses.create(model="m", input="makes resp_1")
            for name, hint in create_parameters().items():
                for value in values(name, hint):
                    await _both_ways(client, upstream, {"input": "hi", name: value})
                assert f'"{name}":'.encode() in sent[-1]
    assert [request.body for request in upstream.requests] == sent
    assert all(b'"invented":{"b":1e-07,"a":null}' in body for body in sent[1:])


async def _both_ways(client: AsyncOpenAI, upstream: ScriptedUpstream, fields: dict[str, Any]) -> None:
    fields = {**fields, "extra_body": {"invented": {"b": 1e-7, "a": None}}}
    upstream.answer(json_answer(ANSWER))
    await client.responses.create(model="m", **fields)
    upstream.answer(sse_head(), chunk(CREATED), chunk(COMPLETED), END)
    async with await client.responses.create(model="m", stream=True, **fields) as stream:
        assert [event.type async for event in stream] == ["response.created", "response.completed"]
