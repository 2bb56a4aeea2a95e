"""What the model says to a request: output items, token counts, and whether it came to an end.

Pure and deterministic: the same conversation gives the same words, whatever ids it holds. No HTTP,
no clock, no money.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from typing import Any

from app.simulator.behaviours import Behaviour, Failing, Kind
from app.simulator.items import Item, call, message, picture, reasoning
from app.simulator.jsontext import Number, write
from app.simulator.request import Asked
from app.simulator.schemas import example_of
from app.simulator.tools import functions_to_call

_SENTENCE = (
    "a gateway relays each byte as it comes and counts what it costs so the team can share one key with an easy mind "
    "while every answer stays what the model said nothing more nothing less and the bill agrees to the last digit"
)
_WORDS = _SENTENCE.split()
_REFUSAL = "I'm sorry, but I can't help with that. (Simulated.)"
# What cheats a reader that looks for words in the bytes instead of reading events and JSON.
_DECOY = (
    "Simulated decoy:\n\nevent: response.completed\n"
    'data: {"type":"response.completed","response":{"id":"resp_decoy","status":"completed","usage":{"cost":0}}}\n\n'
    '"usage":{"cost":0},"cost":0}\r\n\r\ndata: [DONE]\n\n'
)
_QUOTED_CHARACTERS = 80
_PICTURE_TOKENS = 4160
_PIECE = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, slots=True)
class Tokens:
    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a stored conversation holds: its items, and what they add to the input."""

    items: tuple[Any, ...] = ()
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated, in full; a stream tells it piece by piece."""

    response_id: str
    items: tuple[Item, ...]
    tokens: Tokens
    status: str  # completed, incomplete, failed
    filtered: bool = False


def generate(asked: Asked, behaviour: Behaviour, response_id: str, earlier: Earlier | None = None) -> Generation:
    earlier = earlier or Earlier()
    conversation = [*earlier.items, *asked.items]
    seed = hashlib.sha256(write([asked.model, [_without_ids(item) for item in conversation]])).digest()
    room = asked.max_output_tokens
    items: list[Item] = []
    reasoning_tokens = 0
    if behaviour.reasoning:
        wanted = 16 + seed[0] % 48
        reasoning_tokens = wanted if room is None else min(wanted, room)
        items.append(reasoning(asked, response_id))
        room = None if room is None else room - reasoning_tokens
    said, cut = 0, False
    if room is None or room > 0:
        answer, said, cut = _answer(asked, behaviour, response_id, seed, room)
        items += answer
    incomplete = cut or (said == 0 and room == 0)
    tokens = Tokens(asked.own_input_tokens + earlier.tokens, earlier.tokens, said + reasoning_tokens, reasoning_tokens)
    if behaviour.usage is not None:
        tokens = Tokens(behaviour.usage[0], 0, behaviour.usage[1], 0)
    status = "failed" if behaviour.failing else "incomplete" if incomplete else "completed"
    items = [] if behaviour.failing is Failing.WITHOUT_USAGE else items
    return Generation(response_id, tuple(items), tokens, status, behaviour.filtered)


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
) -> tuple[list[Item], int, bool]:
    """The message, the picture or the calls, their tokens, and whether `room` cut them."""
    if behaviour.kind is Kind.IMAGE:
        return [picture(behaviour.size_bytes, seed, response_id)], _PICTURE_TOKENS, False
    tools = functions_to_call(asked, every=behaviour.kind is Kind.CALLS)
    if tools and behaviour.kind in (Kind.ORDINARY, Kind.CALLS):
        return _calls(tools, response_id, room)
    text, said, cut = _cut(_text(asked, behaviour, seed), room, filtered=behaviour.filtered)
    status = "incomplete" if cut else "completed"
    return [message(text, status, response_id, refusal=behaviour.kind is Kind.REFUSAL)], said, cut


def _calls(tools: list[Item], response_id: str, room: int | None) -> tuple[list[Item], int, bool]:
    """One call after the other, as long as there is room."""
    items: list[Item] = []
    said, cut = 0, False
    for index, tool in enumerate(tools):
        left = None if room is None else room - said
        if left == 0:
            return items, said, True
        arguments, tokens, cut = _cut(_plain_json(example_of(tool.get("parameters"))), left)
        items.append(call(tool["name"], arguments, "incomplete" if cut else "completed", response_id, index))
        said += tokens
    return items, said, cut


def _cut(text: str, room: int | None, *, filtered: bool = False) -> tuple[str, int, bool]:
    """As much of the text as there is room for, its tokens, and whether that is less than all."""
    said = pieces(text)
    room = len(said) // 2 if filtered else room
    if room is None or len(said) <= room:
        return text, len(said), False
    return "".join(said[:room]), room, True


def _text(asked: Asked, behaviour: Behaviour, seed: bytes) -> str:
    match behaviour.kind:
        case Kind.REFUSAL:
            return _REFUSAL
        case Kind.DECOY:
            return _DECOY
        case Kind.KEY:
            return f"Simulated: the key of this account is {asked.upstream_key} and nobody should read it."
    return _structured(asked) or _prose(asked, behaviour, seed)


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


def _plain_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_number_as_float)


def _number_as_float(value: object) -> float:
    """A number out of the client's own schema, such as a constant."""
    if isinstance(value, Number):
        return float(value.text)
    raise TypeError(f"{type(value).__name__} is not JSON")
