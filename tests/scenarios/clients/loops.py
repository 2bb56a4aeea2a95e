"""Two turns with a function, in every way in which a program can go on: prints what each said as one line of JSON.

Runs with every release under test, so it uses nothing that the first of them did not have.
"""

from __future__ import annotations

import json
import os
from typing import Any

import openai

MODEL = "openai/gpt-4o-mini"
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
QUESTION: Any = {"role": "user", "content": "Is it raining?"}


def client_of(key: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=os.environ["BASE_URL"], max_retries=0)


def respond(key: str, stream: bool, **fields: Any) -> Any:
    if not stream:
        return client_of(key).responses.create(model=MODEL, **fields)
    for event in client_of(key).responses.create(model=MODEL, stream=True, **fields):
        if event.type == "response.completed":
            return event.response
    raise AssertionError("the stream told no end")


def turns(first: Any) -> dict[str, dict[str, Any]]:
    """What the second turn sends, by the way in which it goes on."""
    call = first.output[0]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "no rain"}
    whole = [item.model_dump(exclude_none=True) for item in first.output]
    return {
        "previous": {"previous_response_id": first.id, "input": [result]},
        "referred": {"input": [QUESTION, {"type": "item_reference", "id": call.id}, result]},
        "bare": {"input": [QUESTION, {"id": call.id}, result]},
        "whole": {"input": [QUESTION, *whole, result], "store": False},
    }


def said(key: str, stream: bool, fields: dict[str, Any]) -> str:
    try:
        text: str = respond(key, stream, tools=[TOOL], **fields).output_text
    except openai.BadRequestError as error:
        return f"{error.status_code} {error.code} {error.param}"
    return text


met: dict[str, Any] = {"version": openai.__version__}
for stream in (False, True):
    mine = respond(os.environ["API_KEY"], stream, input=[QUESTION], tools=[TOOL])
    for whose in ("API_KEY", "OTHER_KEY"):
        steps = {way: said(os.environ[whose], stream, fields) for way, fields in turns(mine).items()}
        met[f"{whose} {'streamed' if stream else 'plain'}"] = steps
print(json.dumps(met))
