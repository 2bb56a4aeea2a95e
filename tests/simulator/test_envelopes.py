"""Answers as a strict client reads them: the OpenAI SDK's own types, without its leniency."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.simulated_upstream import SimulatorUnderTest, Streamed

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}

REQUESTS: dict[str, dict[str, Any]] = {
    "text": {},
    "items": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Say hello"}]}]},
    "options": {
        "instructions": "Be brief.",
        "temperature": 0.7,
        "top_p": 0.9,
        "metadata": {"a": "b"},
        "user": "me",
        "truncation": "auto",
        "parallel_tool_calls": False,
        "service_tier": "flex",
        "store": False,
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "max_tool_calls": 3,
        "text": {"verbosity": "low"},
    },
    "tools": {"tools": [WEATHER], "tool_choice": "required"},
    "named tool": {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "get_weather"}},
    "structured": {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
    "incomplete": {"max_output_tokens": 3},
    "reasoning": {
        "model": "openai/gpt-5",
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    },
    "only thoughts": {"model": "sim/reasoning", "max_output_tokens": 5},
    "two tools at once": {"model": "sim/parallel-calls", "tools": [WEATHER, WEATHER | {"name": "get_tide"}]},
    "allowed tools": {
        "tools": [WEATHER, WEATHER | {"name": "get_tide"}],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "get_tide"}],
        },
    },
    "picture": {"model": "sim/image:2", "tools": [{"type": "image_generation"}]},
    "content filter": {"model": "sim/content-filter"},
    "queued": {"model": "sim/queued"},
    "padded": {"stream_options": {"include_obfuscation": True}},
    "refusal": {"model": "sim/refusal"},
    "failed": {"model": "sim/failed"},
    "failed untold": {"model": "sim/failed-untold"},
    "error event": {"model": "sim/error-event"},
    "seed": {"model": "sim/seed"},
}
UNTOLD = {"failed untold"}
NOT_ECHOED = {"input", "include", "model", "stream_options"}
# What the SDK has no field for: ImageRouter's costs, what OpenAI echoes all the same, and the padding of deltas.
FOREIGN = {"cost", "store", "obfuscation", "name"}  # `name`: of a call that is done, which older SDKs require

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

# What a stream may say between two events of the response itself, by what it tells of.
GRAMMAR = {
    "message": [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ],
    "refusal": [
        "response.output_item.added",
        "response.content_part.added",
        "response.refusal.delta",
        "response.refusal.done",
        "response.content_part.done",
        "response.output_item.done",
    ],
    "function_call": [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ],
    "summary": [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ],
    "reasoning": ["response.output_item.added", "response.output_item.done"],
    "image_generation_call": [
        "response.output_item.added",
        "response.image_generation_call.in_progress",
        "response.image_generation_call.generating",
        "response.image_generation_call.partial_image",
        "response.image_generation_call.completed",
        "response.output_item.done",
    ],
}


def asked(name: str) -> dict[str, Any]:
    return {"model": "sim/fast", **REQUESTS[name]}


def as_the_sdk_reads_it(content: bytes) -> Response:
    """Validated in full and strictly, where the SDK itself would take anything."""
    return Response.model_validate_json(content, strict=True)


def foreign_fields(value: object) -> set[str]:
    """The names, anywhere in it, that the SDK's types do not know."""
    if isinstance(value, list):
        return set().union(*map(foreign_fields, value))
    if not isinstance(value, BaseModel):
        return set()
    fields = (foreign_fields(getattr(value, name)) for name in type(value).model_fields)
    return set(value.model_extra or {}).union(*fields)


def kinds(response: dict[str, Any]) -> list[str]:
    """The grammar rule of each output item."""
    found = []
    for item in response["output"]:
        kind = item["type"]
        if kind == "reasoning" and item["summary"]:
            kind = "summary"
        if kind == "message" and item["content"][0]["type"] == "refusal":
            kind = "refusal"
        found.append(kind)
    return found


def without_repeats(types: list[str]) -> list[str]:
    return [type_ for index, type_ in enumerate(types) if index == 0 or type_ != types[index - 1]]


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_body_satisfies_the_sdks_types(simulator: SimulatorUnderTest, name: str) -> None:
    """Every required field, every literal; what was asked is echoed."""
    answer = await simulator.post(**asked(name))
    response = as_the_sdk_reads_it(answer.content)
    assert (answer.status_code, response.object, response.model) == (200, "response", asked(name)["model"])
    assert response.id.startswith("resp_")
    assert (response.usage is None) == (name in UNTOLD)
    assert foreign_fields(response) <= FOREIGN
    for field in REQUESTS[name].keys() - NOT_ECHOED:
        assert answer.json()[field] == REQUESTS[name][field]


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_event_satisfies_the_sdks_types(simulator: SimulatorUnderTest, name: str) -> None:
    """As one of its event classes, numbered from 0 without a gap."""
    streamed = await simulator.stream(**asked(name))
    for number, event in enumerate(streamed.events):
        read = EVENT.validate_json(json.dumps(event), strict=True)
        assert (read.type, read.sequence_number) == (event["type"], number)
        assert foreign_fields(read) <= FOREIGN


@pytest.mark.parametrize("name", REQUESTS)
async def test_events_come_in_their_order(simulator: SimulatorUnderTest, name: str) -> None:
    """Created, in progress, item by item with its parts, one terminal event."""
    streamed = await simulator.stream(**asked(name))
    end = streamed.events[-1]["response"]
    items = [type_ for kind in kinds(end) for type_ in GRAMMAR[kind]]
    queued = ["response.queued"] if name == "queued" else []
    error = ["error"] if name == "error event" else []
    expected = ["response.created", *queued, "response.in_progress", *items, *error, f"response.{end['status']}"]
    assert without_repeats(streamed.types) == expected


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_deltas_add_up_to_the_end(simulator: SimulatorUnderTest, name: str) -> None:
    """And items are announced empty, then repeated whole in the terminal event."""
    streamed = await simulator.stream(**asked(name))
    first, end = streamed.events[0]["response"], streamed.events[-1]["response"]
    done = [event["item"] for event in streamed.events if event["type"] == "response.output_item.done"]
    assert done == end["output"]
    assert (first["output"], first["usage"]) == ([], None)
    assert first["status"] == ("queued" if name == "queued" else "in_progress")
    for event in streamed.events:
        if event["type"].endswith(".done") and (said := deltas(streamed, event["type"], event)):
            assert said == event.get("text", event.get("arguments", event.get("refusal")))


def deltas(streamed: Streamed, done_type: str, done: dict[str, Any]) -> str:
    wanted = done_type.removesuffix("done") + "delta"
    parts = (event for event in streamed.events if event["type"] == wanted)
    return "".join(event["delta"] for event in parts if event["output_index"] == done["output_index"])


async def test_a_body_and_a_stream_say_the_same(simulator: SimulatorUnderTest) -> None:
    """But for ids, times and the charged cost, which streams leave out."""
    body = (await simulator.post("openai/gpt-5")).json()
    end = (await simulator.stream("openai/gpt-5")).events[-1]["response"]
    assert body.keys() - end.keys() == {"cost"}
    assert body["usage"] == end["usage"]
    assert body["output"][-1]["content"] == end["output"][-1]["content"]


async def test_the_sdk_drives_a_call_and_its_second_turn(simulator: SimulatorUnderTest) -> None:
    """As an agent does: stream, find the call, send back its output with the response's id."""
    tools: Any = [WEATHER]
    async with AsyncOpenAI(base_url=f"{simulator.url}/v1/openai", api_key="any", max_retries=0) as client:
        async with client.responses.stream(model="sim/fast", input="Rain?", tools=tools) as stream:
            async for _ in stream:
                pass
            first = await stream.get_final_response()
        call = first.output[0]
        assert call.type == "function_call"
        output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "Rain, 12 degrees."}]
        second = await client.responses.create(
            model="sim/fast", input=output, previous_response_id=first.id, tools=tools
        )
    assert second.output_text.startswith("The function said: Rain, 12 degrees.")
    assert second.previous_response_id == first.id
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens_details.cached_tokens == first.usage.total_tokens


async def test_the_sdk_parses_structured_output(simulator: SimulatorUnderTest) -> None:
    """Into a pydantic model, through its own helper."""

    class Answer(BaseModel):
        name: str
        tags: list[str]

    async with AsyncOpenAI(base_url=f"{simulator.url}/v1/openai", api_key="any", max_retries=0) as client:
        parsed = await client.responses.parse(model="sim/fast", input="?", text_format=Answer)
    assert parsed.output_parsed == Answer(name="simulated", tags=["simulated"])


async def test_stored_responses_can_be_fetched_and_deleted(simulator: SimulatorUnderTest) -> None:
    """As long as they were to be stored."""
    async with AsyncOpenAI(base_url=f"{simulator.url}/v1/openai", api_key="any", max_retries=0) as client:
        made = await client.responses.create(model="sim/fast", input="?")
        assert (await client.responses.retrieve(made.id)).output_text == made.output_text
        await client.responses.delete(made.id)
        with pytest.raises(NotFoundError):
            await client.responses.retrieve(made.id)
        unstored = await client.responses.create(model="sim/fast", input="?", store=False)
        with pytest.raises(BadRequestError) as refused:
            await client.responses.create(model="sim/fast", input="?", previous_response_id=unstored.id)
    assert refused.value.code == "previous_response_not_found"
