"""Stored responses are private: what a key made is its own, and no reference to another's reaches the upstream."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.core.budgets import parse_budget
from app.core.owners import KeyChange
from app.core.records import Outcome, RefusalReason, State
from app.core.refused import RefusalFilter
from tests.canaries import found_in_files
from tests.harness import GatewayUnderTest, Reply, gateway_before
from tests.proxy.test_passthrough import CREATED, DELTA, event
from tests.scripted_upstream import CLOSE, END, ScriptedUpstream, chunk, json_answer, sse_head

USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "cost": 0.25}
OUTPUT = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"},
    {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
]
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": OUTPUT, "usage": USAGE}

# Every kind of reference to what RESPONSE made, by the member that is named.
REFERENCES: dict[str, dict[str, Any]] = {
    "previous_response_id": {"previous_response_id": "resp_1"},
    "input[0].id": {"input": [{"type": "item_reference", "id": "msg_1"}]},
    "input[1].id": {"input": [{"role": "user", "content": "hi"}, {"id": "rs_1"}]},
    "tools.container": {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
    "prompt_cache_options.comparison_response_id": {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
}
# What the gateway can never have seen being made.
UNKNOWN: dict[str, dict[str, Any]] = {
    "input[0].file_id": {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    "tools.vector_store_ids": {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
    "prompt.id": {"prompt": {"id": "pmpt_1"}},
}


def body(fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "input": "hi", **fields}


async def answer_of(gateway: GatewayUnderTest, secret: str, fields: dict[str, Any]) -> tuple[int, Any]:
    async with gateway.post(body(fields), secret) as reply:
        return reply.status, await reply.json()


async def make(gateway: GatewayUnderTest, upstream: ScriptedUpstream, secret: str, *, stream: bool = False) -> None:
    """RESPONSE, made by this key."""
    if stream:
        completed = event("response.completed", sequence_number=2, response=RESPONSE)
        upstream.answer(sse_head(), chunk(CREATED), chunk(DELTA), chunk(completed), END)
    else:
        upstream.answer(json_answer(json.dumps(RESPONSE).encode()))
    async with gateway.post(body({"stream": stream}), secret) as reply:
        assert reply.status == 200
        await reply.body()


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_what_a_key_made_is_its_own(gateway: GatewayUnderTest, upstream: ScriptedUpstream, stream: bool) -> None:
    """As soon as it has seen the end of its answer; another key is refused, and nothing is forwarded for it."""
    alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
    await make(gateway, upstream, alice, stream=stream)
    for param, fields in REFERENCES.items():
        before = len(upstream.requests)
        status, refused = await answer_of(gateway, bob, fields)
        error = refused["error"]
        assert (status, error["code"], error["param"]) == (400, "previous_response_not_found", param)
        assert error["message"].startswith(f"{param} ")
        assert len(upstream.requests) == before
        assert (await answer_of(gateway, alice, fields))[0] == 200
        assert json.loads(upstream.requests[before].body) == body(fields)
    assert len(await gateway.rows()) == 1 + len(REFERENCES)


async def test_nobody_learns_whether_it_exists(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """The very same bytes before another key made it and afterwards, in body and headers."""
    alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")

    async def all_refusals() -> list[tuple[int, list[tuple[str, str]], bytes]]:
        told = []
        for fields in REFERENCES.values():
            async with gateway.post(body(fields), bob) as reply:
                told.append((reply.status, lasting(reply), await reply.body()))
        return told

    before = await all_refusals()
    await make(gateway, upstream, alice)
    assert await all_refusals() == before
    assert len(upstream.requests) == 1
    found = await gateway.services.reports.refusals(RefusalFilter())
    assert {one.reason for one in found.page.items} == {RefusalReason.RESPONSE_NOT_FOUND}


def lasting(reply: Reply) -> list[tuple[str, str]]:
    """The headers that do not tell one answer from the next."""
    return [(name, value) for name, value in reply.headers if name not in ("date", "x-irg-request-id", "x-request-id")]


@pytest.mark.parametrize("unknown", ["refuse", "allow"])
async def test_what_was_never_seen_passes_only_where_it_is_allowed(
    upstream: ScriptedUpstream, tmp_path: Path, unknown: str
) -> None:
    """Files, vector stores, prompts, conversations, and ids of before; what is known to be another's never does."""
    async with gateway_before(upstream.url, tmp_path, unknown_references=unknown) as gateway:
        alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
        expected = 400 if unknown == "refuse" else 200
        for param, fields in {**UNKNOWN, **REFERENCES}.items():
            status, told = await answer_of(gateway, alice, fields)
            assert status == expected, param
            assert status == 200 or told["error"]["param"] == param
        assert (await answer_of(gateway, alice, {"conversation": "conv_1"}))[0] == expected
    async with gateway_before(upstream.url, tmp_path, unknown_references=unknown) as gateway:
        await make(gateway, upstream, alice)
    async with gateway_before(upstream.url, tmp_path, unknown_references=unknown) as gateway:  # it is remembered
        for fields in REFERENCES.values():
            assert (await answer_of(gateway, alice, fields))[0] == 200
            assert (await answer_of(gateway, bob, fields))[0] == 400


ODD_REFERENCES: dict[str, dict[str, Any]] = {
    "previous_response_id": {"previous_response_id": "resp_1\n"},
    "input[0].id": {"input": [{"type": "item_reference", "id": " msg_1"}]},
    "input[0].file_id": {
        "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "PROMPT as an id"}]}]
    },
    "prompt.id": {"prompt": {"id": "pmpt_1/../pmpt_2"}},
}


async def test_what_does_not_look_like_an_id_passes_nowhere(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Nor where unknown ones pass: an upstream may trim it to what is another's. No trace of its text is kept."""
    async with gateway_before(upstream.url, tmp_path, unknown_references="allow") as gateway:
        alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
        await make(gateway, upstream, alice)
        for param, fields in ODD_REFERENCES.items():
            for secret in (alice, bob):
                status, told = await answer_of(gateway, secret, fields)
                assert (status, told["error"]["code"]) == (400, "previous_response_not_found")
                assert told["error"]["param"] == param
        assert len(upstream.requests) == 1
        found = await gateway.services.reports.refusals(RefusalFilter())
        assert {one.reference for one in found.page.items} == {None}
    assert found_in_files(tmp_path.glob("gateway.db*"), ("PROMPT as an id", "pmpt_1/../pmpt_2")) == []


async def test_using_a_container_does_not_make_it(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """One that all keys may use stays so, although each answer names it."""
    async with gateway_before(upstream.url, tmp_path, unknown_references="allow") as gateway:
        alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
        for number, secret in enumerate((alice, bob, alice)):
            upstream.answer(json_answer(json.dumps({**RESPONSE, "id": f"resp_{number}"}).encode()))
            assert (await answer_of(gateway, secret, REFERENCES["tools.container"]))[0] == 200


async def test_a_team_shares_where_that_is_the_rule(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """IRG_REFERENCES_SCOPE=team: its keys go on with each other's responses, and nobody else does."""
    async with gateway_before(upstream.url, tmp_path, references_scope="team") as gateway:
        await gateway.services.keyring.create_team("red")
        ann, art = [await gateway.create_key(name, team="red") for name in ("ann", "art")]
        cid, dee = [await gateway.create_key(name) for name in ("cid", "dee")]
        await make(gateway, upstream, ann)
        for fields in REFERENCES.values():
            assert [(await answer_of(gateway, one, fields))[0] for one in (ann, art, cid)] == [200, 200, 400]
        await gateway.services.keyring.change("art", KeyChange(team=None))
        await gateway.services.keyring.change("cid", KeyChange(team="red"))
        fields = REFERENCES["previous_response_id"]
        assert [(await answer_of(gateway, one, fields))[0] for one in (ann, art, cid, dee)] == [200, 400, 200, 400]


async def test_an_answer_sent_back_whole_is_no_reference(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """The stateless loop works from any key, byte for byte: nothing is loaded for it."""
    secret = await gateway.create_key()
    items = [
        {"role": "user", "content": "Rain?"},
        {"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": "c2VhbGVk"},
        {"type": "function_call", "id": "fc_x", "call_id": "call_x", "name": "rain", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_x", "output": "no"},
        {"type": "message", "id": "msg_x", "role": "assistant", "content": [{"type": "output_text", "text": "No."}]},
    ]
    assert (await answer_of(gateway, secret, {"input": items, "store": False}))[0] == 200
    assert json.loads(upstream.requests[0].body) == body({"input": items, "store": False})


# --- answers that end otherwise --------------------------------------------------------------


async def test_an_abandoned_answer_is_its_keys_all_the_same(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The gateway reads it on, so it knows what was made."""
    alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
    go = asyncio.Event()
    completed = event("response.completed", sequence_number=2, response=RESPONSE)
    upstream.answer(sse_head(), chunk(CREATED), go, chunk(completed), END)
    async with gateway.post(body({"stream": True}), alice) as reply:
        await reply.chunk()
        assert (await answer_of(gateway, alice, REFERENCES["previous_response_id"]))[0] == 400  # not before its end
        reply.reset()
    go.set()
    (row,) = await gateway.settled(1)
    assert (row.state, row.outcome) == (State.SETTLED, Outcome.CLIENT_DISCONNECTED)
    for fields in REFERENCES.values():
        assert (await answer_of(gateway, alice, fields))[0] == 200
        assert (await answer_of(gateway, bob, fields))[0] == 400


async def test_a_broken_answer_made_what_it_had_told(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """The response, which was named at its start; not the items, which are named at its end."""
    alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
    upstream.answer(sse_head(), chunk(CREATED), CLOSE)
    async with gateway.post(body({"stream": True}), alice) as reply:
        await reply.body_until_cut()
    (row,) = await gateway.settled(1)
    assert (row.state, row.response_id) == (State.UNKNOWN, "resp_1")
    assert (await answer_of(gateway, alice, REFERENCES["previous_response_id"]))[0] == 200
    assert (await answer_of(gateway, bob, REFERENCES["previous_response_id"]))[0] == 400
    assert (await answer_of(gateway, alice, REFERENCES["input[0].id"]))[0] == 400


# --- the background --------------------------------------------------------------------------


async def test_the_background_is_refused(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """With words that name the mend."""
    secret = await gateway.create_key()
    for stream in (True, False):
        status, told = await answer_of(gateway, secret, {"background": True, "stream": stream})
        assert (status, told["error"]["code"], told["error"]["param"]) == (400, "invalid_request_error", "background")
        assert "Leave it out" in told["error"]["message"]
    assert upstream.requests == []


async def test_the_background_costs_nobody_knows_what(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """IRG_ALLOW_BACKGROUND: an answer that is only queued is `unknown: background` and keeps its hold; streamed to
    its end it is settled."""
    upstream.aside(b"/v3/models?output_modalities=text", json_answer([{"id": "other"}]))
    async with gateway_before(upstream.url, tmp_path, allow_background=True) as gateway:
        alice = await gateway.create_key("alice", budgets=(parse_budget("1/total"),))
        upstream.answer(json_answer(json.dumps({**RESPONSE, "status": "queued", "output": [], "usage": None}).encode()))
        assert (await answer_of(gateway, alice, {"background": True}))[0] == 200
        assert json.loads(upstream.requests[0].body)["background"] is True
        (row,) = await gateway.settled(1)
        assert (row.state, row.unknown_reason, row.true_cost_picodollars) == (State.UNKNOWN, "background", None)
        key = await gateway.services.keyring.find("alice")
        assert (key.budgets[0].spent_picodollars, key.budgets[0].held_picodollars) == (row.hold_picodollars, 0)
        assert row.hold_picodollars > 0
        assert (await answer_of(gateway, alice, REFERENCES["previous_response_id"]))[0] == 200
        completed = event("response.completed", sequence_number=2, response={**RESPONSE, "id": "resp_2"})
        upstream.answer(sse_head(), chunk(CREATED), chunk(completed), END)
        async with gateway.post(body({"background": True, "stream": True}), alice) as reply:
            await reply.body()
            row = await gateway.row(reply.request_id)
        assert (row.state, row.true_cost_raw) == (State.SETTLED, "0.25")


# --- paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/v1/openai/responses", "/v1/responses"])
@pytest.mark.parametrize(
    ("method", "below"),
    [
        ("GET", "resp_1"),
        ("DELETE", "resp_1"),
        ("POST", "resp_1/cancel"),
        ("GET", "resp_1/input_items"),
        ("GET", "resp_1?stream=true"),
        ("POST", "compact"),
        ("POST", "input_tokens"),
    ],
)
async def test_stored_responses_are_not_served(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, prefix: str, method: str, below: str
) -> None:
    """Nothing is forwarded, not even for the key that made them, and the sentence says what to do instead."""
    alice = await gateway.create_key()
    await make(gateway, upstream, alice)
    for secret in (alice, None):
        async with gateway.post(b"{}", secret, method=method, path=f"{prefix}/{below}") as reply:
            error = (await reply.json())["error"]
            assert (reply.status, error["code"]) == (404, "not_found")
            assert "Stored responses are not served" in error["message"]
            assert "previous_response_id" in error["message"]
    assert len(upstream.requests) == 1
