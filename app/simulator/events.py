"""The events of a streamed response, in the order and shape of the OpenAI Responses API.

Pure: from the response at its start and at its end to the list of events between; `Framer`
writes them. Nothing here knows time or sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.simulator.behaviours import Frames
from app.simulator.generation import Item, pieces
from app.simulator.jsontext import write

Event = dict[str, Any]

_TERMINAL = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}


def opening(start: dict[str, Any]) -> Iterator[Event]:
    yield {"type": "response.created", "response": start}
    yield {"type": "response.in_progress", "response": start}


def telling(items: list[Item]) -> Iterator[Event]:
    """The output, item by item and piece by piece."""
    for index, item in enumerate(items):
        at = {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.added", "output_index": index, "item": _empty(item)}
        match item["type"]:
            case "reasoning":
                yield from _summaries(item, at)
            case "function_call":
                yield from _arguments(item, at)
            case _:
                yield from _parts(item, at)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def terminal(end: dict[str, Any]) -> Event:
    return {"type": _TERMINAL[end["status"]], "response": end}


def _empty(item: Item) -> Item:
    """The item as it is announced: nothing said yet."""
    match item["type"]:
        case "reasoning":
            return item | {"summary": []}
        case "function_call":
            return item | {"status": "in_progress", "arguments": ""}
        case _:
            return item | {"status": "in_progress", "content": []}


def _summaries(item: Item, at: Event) -> Iterator[Event]:
    for index, part in enumerate(item["summary"]):
        here = at | {"summary_index": index}
        yield {"type": "response.reasoning_summary_part.added", **here, "part": part | {"text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **here, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **here, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **here, "part": part}


def _arguments(item: Item, at: Event) -> Iterator[Event]:
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
    yield {
        "type": "response.function_call_arguments.done",
        **at,
        "name": item["name"],
        "arguments": item["arguments"],
    }


def _parts(item: Item, at: Event) -> Iterator[Event]:
    for index, part in enumerate(item["content"]):
        here = at | {"content_index": index}
        field, name = ("refusal", "refusal") if part["type"] == "refusal" else ("text", "output_text")
        logprobs: Event = {} if field == "refusal" else {"logprobs": []}
        yield {"type": "response.content_part.added", **here, "part": part | {field: ""}}
        for piece in pieces(part[field]):
            yield {"type": f"response.{name}.delta", **here, "delta": piece, **logprobs}
        yield {"type": f"response.{name}.done", **here, field: part[field], **logprobs}
        yield {"type": "response.content_part.done", **here, "part": part}


class Framer:
    """Writes events as frames of one stream and numbers them."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._next = 0

    def frame(self, event: Event) -> bytes:
        numbered = {"type": event["type"], "sequence_number": self._next, **event}
        comment = b": PROCESSING\n\n" if self._frames.comments and self._next % 3 == 0 else b""
        self._next += 1
        name = f"event: {event['type']}\n".encode() if self._frames.named else b""
        return comment + name + b"data: " + write(numbered) + b"\n\n"

    def after_terminal(self) -> bytes:
        """What follows the terminal event, if anything does."""
        return b"data: [DONE]\n\n" if self._frames.done else b""
