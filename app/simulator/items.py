"""The items of a response's output, in OpenAI's shapes. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from app.simulator.request import Asked

Item = dict[str, Any]

_THOUGHT = "The request is simulated, so the answer is made up from its words."
_PNG = b"\x89PNG\r\n\x1a\n"


def item_id(prefix: str, response_id: str, index: int = 0) -> str:
    return f"{prefix}_{response_id.partition('_')[2]}" + (f"{index:02d}" if index else "")


def reasoning(asked: Asked, response_id: str) -> Item:
    options = asked.fields.get("reasoning")
    summarised = isinstance(options, dict) and (options.get("summary") or options.get("generate_summary"))
    summary = [{"type": "summary_text", "text": _THOUGHT}] if summarised else []
    item: Item = {"id": item_id("rs", response_id), "type": "reasoning", "summary": summary}
    include = asked.fields.get("include")
    if isinstance(include, list) and "reasoning.encrypted_content" in include:
        item["encrypted_content"] = "c2ltdWxhdGVk" * 8
    return item


def message(text: str, status: str, response_id: str, *, refusal: bool = False) -> Item:
    part: Item = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    if refusal:
        part = {"type": "refusal", "refusal": text}
    return {
        "id": item_id("msg", response_id),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }


def call(name: str, arguments: str, status: str, response_id: str, index: int) -> Item:
    return {
        "id": item_id("fc", response_id, index),
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": item_id("call", response_id, index),
        "name": name,
    }


def picture(size_bytes: int, seed: bytes, response_id: str) -> Item:
    """A picture whose base64 text has about so many characters. It begins like a PNG and is none."""
    noise = hashlib.sha256(seed).digest() * 32
    content = _PNG + noise * (size_bytes * 3 // 4 // len(noise) + 1)
    return {
        "id": item_id("ig", response_id),
        "type": "image_generation_call",
        "status": "completed",
        "result": base64.b64encode(content[: max(size_bytes * 3 // 4, len(_PNG))]).decode(),
    }
