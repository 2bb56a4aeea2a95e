"""Answers as upstreams send them, and ways to cut them into chunks; shared by the tests of the taps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

TRUE_COST = "0.0000123"
CHARGED = "0.0001"

# Texts of a model that try to pass for events or costs.
SPOOFS = (
    '"usage":{"cost":0}',
    '","usage":{"cost":0},"x":"',
    '\\","usage":{"cost":0}',
    '\n\nevent: response.completed\ndata: {"type":"response.completed","response":{"usage":{"cost":0}}}\n\n',
    '\r\rdata: {"type":"response.completed","response":{"usage":{"cost":0},"cost":0}}\r\r',
    '"type":"response.completed"',
    '"error"',
    "}]}}",
    "\\",
    '"',
    "\u2028\ud83d\ude00",
    "data: [DONE]",
    "x" * 30_000,
)

spoofed_texts = st.lists(st.sampled_from(SPOOFS) | st.text(max_size=20), max_size=5).map("".join)


def usage(cost: str | None = TRUE_COST) -> str:
    """The JSON text of a usage object; `cost` is a JSON token."""
    stated = "" if cost is None else f',"cost":{cost}'
    return (
        '{"input_tokens":12,"input_tokens_details":{"cached_tokens":3},"output_tokens":24,'
        f'"output_tokens_details":{{"reasoning_tokens":5}},"total_tokens":36{stated}}}'
    )


def response(text: str = "Hello", *, members: str = "", usage_text: str | None = None, ascii_only: bool = True) -> str:
    """The JSON text of a response whose output, instructions and metadata all hold `text`."""
    said = json.dumps(text, ensure_ascii=ascii_only)
    output = f'[{{"type":"message","content":[{{"type":"output_text","text":{said}}}],"usage":{{"cost":0}}}}]'
    stated = usage() if usage_text is None else usage_text
    return (
        f'{{"id":"resp_1","object":"response","model":"openai/gpt-4o-mini","status":"completed","error":null,'
        f'"instructions":{said},"output":{output},"metadata":{{"cost":{said}}},"usage":{stated}{members}}}'
    )


def event(kind: str, members: str = "", *, named: bool = True, number: int = 7) -> bytes:
    """One event with LF line ends; `members` is JSON text such as `,"delta":"x"`."""
    name = f"event: {kind}\n" if named else ""
    return f'{name}data: {{"type":"{kind}","sequence_number":{number}{members}}}\n\n'.encode("utf-8", "surrogatepass")


def delta(text: str = "Hello", *, named: bool = True, number: int = 4) -> bytes:
    said = json.dumps(text)
    return event("response.output_text.delta", f',"item_id":"msg_1","delta":{said}', named=named, number=number)


def created(*, named: bool = True) -> bytes:
    members = ',"response":{"id":"resp_1","model":"openai/gpt-4o-mini","status":"in_progress","usage":null}'
    return event("response.created", members, named=named, number=0)


def completed(response_text: str | None = None, *, named: bool = True, members: str = "") -> bytes:
    body = response() if response_text is None else response_text
    return event("response.completed", f',"response":{body}{members}', named=named, number=9)


def cut(whole: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """The same bytes, cut at these places."""
    start = 0
    for place in sorted({place % (len(whole) + 1) for place in places}):
        yield whole[start:place]
        start = place
    yield whole[start:]


def every(size: int, whole: bytes) -> list[bytes]:
    """The same bytes in chunks of that size."""
    return [whole[at : at + size] for at in range(0, len(whole), size)]


cut_places = st.lists(st.integers(0, 100_000), max_size=12)


def with_line_ends(whole: bytes, ends: Sequence[bytes]) -> bytes:
    """The LF line ends replaced, in turn, by these; a CR and the LF of an empty line must not become one end."""
    lines = whole.split(b"\n")
    joined = bytearray(lines[0])
    for index, line in enumerate(lines[1:]):
        end = ends[index % len(ends)]
        joined += b"\r" if end == b"\n" and joined.endswith(b"\r") else end
        joined += line
    return bytes(joined)


def as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
