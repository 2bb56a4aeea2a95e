"""What the model says to a request: output items, token counts, and whether it came to an end.

Pure and deterministic: the same body gives the same words, whatever ids it holds. No HTTP, no
clock, no money.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from typing import Any

from app.simulator.behaviours import Behaviour, Ending, Kind
from app.simulator.jsontext import Number, write
from app.simulator.request import Asked
from app.simulator.schemas import example_of

Item = dict[str, Any]

_SENTENCE = (
    "a gateway relays each byte as it comes and counts what it costs so the team can share one key with an easy mind "
    "while every answer stays what the model said nothing more nothing less and the bill agrees to the last digit"
)
_WORDS = _SENTENCE.split()
_REFUSAL = "I'm sorry, but I can't help with that."
_THOUGHT = "The request is simulated, so the answer is made up from its words."
_QUOTED_CHARACTERS = 80
_PIECE = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, slots=True)
class Tokens:
    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated, in full; a stream tells it piece by piece."""

    response_id: str
    items: tuple[Item, ...]
    tokens: Tokens
    status: str  # completed, incomplete, failed


def generate(asked: Asked, behaviour: Behaviour, response_id: str, *, cached_tokens: int = 0) -> Generation:
    """`cached_tokens`: what the earlier turns of a stored conversation add to the input."""
    seed = hashlib.sha256(write([asked.model, [_without_ids(item) for item in asked.items]])).digest()
    room = asked.max_output_tokens
    items: list[Item] = []
    reasoning_tokens = 0
    if behaviour.reasoning:
        wanted = 16 + seed[0] % 48
        reasoning_tokens = wanted if room is None else min(wanted, room)
        items.append(_reasoning(asked, response_id))
        room = None if room is None else room - reasoning_tokens
    said, cut = 0, False
    if room is None or room > 0:
        item, said, cut = _answer(asked, behaviour, response_id, seed, room)
        items.append(item)
    incomplete = cut or (said == 0 and room == 0)
    tokens = Tokens(asked.own_input_tokens + cached_tokens, cached_tokens, said + reasoning_tokens, reasoning_tokens)
    if behaviour.usage is not None:
        tokens = Tokens(behaviour.usage[0], 0, behaviour.usage[1], 0)
    status = "incomplete" if incomplete else "completed"
    return Generation(response_id, tuple(items), tokens, "failed" if behaviour.ending is Ending.FAILED else status)


def pieces(text: str) -> list[str]:
    """The text in the pieces that a model would say it in: each is one token."""
    return _PIECE.findall(text)


def _without_ids(item: Any) -> Any:
    """A later turn repeats the ids of an earlier answer, and those are new every time."""
    if not isinstance(item, dict):
        return item
    return {name: value for name, value in item.items() if name not in ("id", "call_id")}


def _answer(
    asked: Asked, behaviour: Behaviour, response_id: str, seed: bytes, room: int | None
) -> tuple[Item, int, bool]:
    """The message or the call, its tokens, and whether `room` cut it."""
    tool = _tool_to_call(asked)
    if behaviour.kind is Kind.ORDINARY and tool is not None:
        text = _plain_json(example_of(tool.get("parameters")))
    elif behaviour.kind is Kind.REFUSAL:
        text = _REFUSAL
    else:
        text = _structured(asked) or _prose(asked, behaviour, seed)
    said = pieces(text)
    cut = room is not None and len(said) > room
    if cut:
        said = said[:room]
        text = "".join(said)
    status = "incomplete" if cut else "completed"
    if behaviour.kind is Kind.ORDINARY and tool is not None:
        return _call(tool, text, status, response_id), len(said), cut
    return _message(behaviour.kind, text, status, response_id), len(said), cut


def _prose(asked: Asked, behaviour: Behaviour, seed: bytes) -> str:
    words = random.Random(seed)  # noqa: S311 - deterministic words, no secret
    count = behaviour.words if behaviour.words is not None else 12 + seed[1] % 24
    quoted = " ".join(asked.last_text.split())[:_QUOTED_CHARACTERS]
    result = asked.items[-1] if asked.items else None
    given = isinstance(result, dict) and result.get("type") == "function_call_output"
    opening = f"The function said: {quoted}" if given else f"Simulated answer to: {quoted}"
    return " ".join([opening, "-", *(words.choice(_WORDS) for _ in range(count))]) + "."


def _structured(asked: Asked) -> str | None:
    text = asked.fields.get("text")
    format_ = text.get("format") if isinstance(text, dict) else None
    if not isinstance(format_, dict):
        return None
    if format_.get("type") == "json_schema":
        return _plain_json(example_of(format_.get("schema")))
    return _plain_json({"answer": "simulated"}) if format_.get("type") == "json_object" else None


def _tool_to_call(asked: Asked) -> Item | None:
    """The function to call, unless the request forbids it or brings a call's result."""
    choice = asked.fields.get("tool_choice", "auto")
    last = asked.items[-1] if asked.items else None
    if choice == "none" or (isinstance(last, dict) and last.get("type") == "function_call_output"):
        return None
    tools = asked.fields.get("tools")
    functions = [tool for tool in tools if _is_function(tool)] if isinstance(tools, list) else []
    wanted = choice.get("name") if isinstance(choice, dict) else None
    return next((tool for tool in functions if wanted in (None, tool["name"])), None)


def _is_function(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function" and isinstance(tool.get("name"), str)


def _plain_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_number_as_float)


def _number_as_float(value: object) -> float:
    """A number out of the client's own schema, such as a constant."""
    if isinstance(value, Number):
        return float(value.text)
    raise TypeError(f"{type(value).__name__} is not JSON")


def item_id(prefix: str, response_id: str) -> str:
    return f"{prefix}_{response_id.partition('_')[2]}"


def _reasoning(asked: Asked, response_id: str) -> Item:
    options = asked.fields.get("reasoning")
    summarised = isinstance(options, dict) and (options.get("summary") or options.get("generate_summary"))
    summary = [{"type": "summary_text", "text": _THOUGHT}] if summarised else []
    item: Item = {"id": item_id("rs", response_id), "type": "reasoning", "summary": summary}
    include = asked.fields.get("include")
    if isinstance(include, list) and "reasoning.encrypted_content" in include:
        item["encrypted_content"] = "c2ltdWxhdGVk" * 8
    return item


def _message(kind: Kind, text: str, status: str, response_id: str) -> Item:
    part: Item = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    if kind is Kind.REFUSAL:
        part = {"type": "refusal", "refusal": text}
    return {
        "id": item_id("msg", response_id),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }


def _call(tool: Item, arguments: str, status: str, response_id: str) -> Item:
    return {
        "id": item_id("fc", response_id),
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": item_id("call", response_id),
        "name": tool["name"],
    }
