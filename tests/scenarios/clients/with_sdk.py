"""Everything that a program does with the Python SDK, once; prints what it met as one line of JSON.

Runs with every release under test, so it uses nothing that the first of them did not have.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import openai
from pydantic import BaseModel

MODEL = "openai/gpt-4o-mini"
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


class Weather(BaseModel):
    city: str
    degrees: int


key = os.environ["API_KEY"]
client = openai.OpenAI(api_key=key, base_url=os.environ["BASE_URL"], max_retries=0)


def cost_of(response: Any) -> Any:
    """`cost` is no field of the SDK's own usage; its models keep what they do not know."""
    return response.usage.model_dump()["cost"]


def plain() -> dict[str, Any]:
    response = client.responses.create(model=MODEL, input="Say hello")
    told = {"text": response.output_text, "cost": cost_of(response), "id": response.id}
    return told | {"request_id": response._request_id}


def asynchronous() -> dict[str, Any]:
    async def ask() -> str:
        async with openai.AsyncOpenAI(api_key=key, base_url=os.environ["BASE_URL"], max_retries=0) as client:
            return (await client.responses.create(model=MODEL, input="Say hello")).output_text

    return {"text": asyncio.run(ask())}


def helped() -> dict[str, Any]:
    """The SDK's helpers, which follow the events and read the text themselves."""
    with client.responses.stream(model=MODEL, input="Say hello") as stream:
        text = stream.get_final_response().output_text
    parsed = client.responses.parse(model=MODEL, input="Say hello", text_format=Weather).output_parsed
    return {"text": text, "parsed": parsed.model_dump() if parsed else None}


def short_base_url() -> dict[str, Any]:
    """A base URL that ends in /v1."""
    short = openai.OpenAI(api_key=key, base_url=os.environ["SHORT_BASE_URL"], max_retries=0)
    response = short.responses.create(model=MODEL, input="Say hello")
    return {"text": response.output_text, "id": response.id}


def streamed() -> dict[str, Any]:
    deltas, end = [], None
    for event in client.responses.create(model=MODEL, input="Say hello", stream=True):
        if event.type == "response.output_text.delta":
            deltas.append(event.delta)
        elif event.type == "response.completed":
            end = event.response
    assert end is not None
    return {"deltas": deltas, "text": end.output_text, "cost": cost_of(end), "id": end.id}


def aborted() -> dict[str, Any]:
    """Leaves in the middle of a stream, seconds before its end."""
    identifier, deltas = None, 0
    with client.responses.create(model="sim/stream-pause:100", input="Say hello", stream=True) as stream:
        for event in stream:
            if event.type == "response.created":
                identifier = event.response.id
            deltas += event.type == "response.output_text.delta"
            if deltas == 3:
                break
    return {"id": identifier}


def called() -> dict[str, Any]:
    """The model calls a function, and hears what came of it in a second turn."""
    first = client.responses.create(model=MODEL, input="Is it raining?", tools=[TOOL])
    call: Any = first.output[0]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "no rain"}
    second = client.responses.create(model=MODEL, previous_response_id=first.id, input=[result], tools=[TOOL])
    return {"called": call.name, "text": second.output_text, "ids": [first.id, second.id]}


def error_of(ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        ask()
    except openai.APIError as error:
        status = getattr(error, "status_code", None)
        return {"class": type(error).__name__, "status": status, "code": error.code, "text": str(error)}
    raise AssertionError("no error was raised")


def refused() -> dict[str, Any]:
    """Errors of the gateway, and one of the upstream, with the SDK's own retries."""
    stranger = openai.OpenAI(api_key="irg_wrong", base_url=os.environ["BASE_URL"])
    lost = openai.OpenAI(api_key=key, base_url=os.environ["SHORT_BASE_URL"] + "/wrong")
    foreign = "resp_of_somebody_else"
    return {
        "wrong key": error_of(lambda: stranger.responses.create(model=MODEL, input="hi")),
        "wrong key, streamed": error_of(lambda: stranger.responses.create(model=MODEL, input="hi", stream=True)),
        "wrong path": error_of(lambda: lost.responses.create(model=MODEL, input="hi")),
        "foreign response": error_of(
            lambda: client.responses.create(model=MODEL, input="hi", previous_response_id=foreign)
        ),
        "upstream": error_of(lambda: client.responses.create(model="sim/400", input="hi")),
    }


def broken() -> dict[str, Any]:
    """The upstream breaks off inside its answer; nothing is sent again, although the SDK would."""
    lasting = openai.OpenAI(api_key=key, base_url=os.environ["BASE_URL"])
    model = "sim/cut-midstream"
    return {
        "plain": error_of(lambda: lasting.responses.create(model=model, input="hi")),
        "streamed": error_of(lambda: list(lasting.responses.create(model=model, input="hi", stream=True))),
    }


def retried() -> dict[str, Any]:
    """The upstream is overloaded, and the SDK tries again as it does by itself."""
    lasting = openai.OpenAI(api_key=key, base_url=os.environ["BASE_URL"])
    return error_of(lambda: lasting.responses.create(model="sim/503", input="hi"))


steps: tuple[Callable[[], dict[str, Any]], ...] = (
    plain,
    asynchronous,
    short_base_url,
    streamed,
    helped,
    aborted,
    called,
    refused,
    broken,
)
if sys.argv[1:] == ["retried"]:
    steps = (retried,)
print(json.dumps({"version": openai.__version__} | {step.__name__: step() for step in steps}))
