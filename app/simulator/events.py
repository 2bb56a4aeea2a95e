"""The events of a streamed response, in the order and shape of the OpenAI Responses API.

Pure: from the response at its start and at its end to the list of events between; `framing`
writes them. Nothing here knows time or sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from app.simulator.generation import pieces
from app.simulator.items import Item

Event = dict[str, Any]

_TERMINAL = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}


def opening(start: dict[str, Any], *, queued: bool = False) -> Iterator[Event]:
    if queued:
        waiting = start | {"status": "queued"}
        yield {"type": "response.created", "response": waiting}
        yield {"type": "response.queued", "response": waiting}
    else:
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
            case "image_generation_call":
                yield from _picture(item, at)
            case _:
                yield from _parts(item, at)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def obfuscated(told: Iterable[Event]) -> Iterator[Event]:
    """The same, with padding beside each delta, as `stream_options.include_obfuscation` asks."""
    for event in told:
        padding = {"obfuscation": "obfuscation"[: 1 + len(event["delta"]) % 11]} if "delta" in event else {}
        yield event | padding


def error(end: dict[str, Any]) -> Event:
    """OpenAI's flat form."""
    failure = end["error"]
    return {"type": "error", "code": failure["code"], "message": failure["message"], "param": None}


def terminal(end: dict[str, Any], beside: dict[str, Any]) -> Event:
    """`beside`: further members of the event itself."""
    return {"type": _TERMINAL[end["status"]], "response": end, **beside}


def _empty(item: Item) -> Item:
    """The item as it is announced: nothing said yet."""
    match item["type"]:
        case "reasoning":
            return item | {"summary": []}
        case "function_call":
            return item | {"status": "in_progress", "arguments": ""}
        case "image_generation_call":
            return item | {"status": "in_progress", "result": None}
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


def _picture(item: Item, at: Event) -> Iterator[Event]:
    yield {"type": "response.image_generation_call.in_progress", **at}
    yield {"type": "response.image_generation_call.generating", **at}
    yield {
        "type": "response.image_generation_call.partial_image",
        **at,
        "partial_image_index": 0,
        "partial_image_b64": item["result"][:1000],
    }
    yield {"type": "response.image_generation_call.completed", **at}
