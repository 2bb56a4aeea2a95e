"""How events are written: every way of it holds the same events."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.simulator.behaviours import Frames
from app.simulator.framing import BOM, Framer
from app.simulator.models import GROUPS
from tests.simulated_upstream import SimulatorUnderTest

FRAMES = GROUPS["frames"]
EVENT = {"type": "response.completed", "response": {"usage": {"cost": 1}, "text": "Simulated, yes"}}


def read(content: bytes) -> list[tuple[str, str]]:
    """Events by WHATWG HTML §9.2.6, slowly and without a trick: (name, data)."""
    text = content.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)
    events: list[tuple[str, str]] = []
    name, data = "", list[str]()
    for line in [*lines, ""]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((name, "\n".join(data)))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events


def written(frames: Frames) -> bytes:
    framer = Framer(frames)
    first = framer.frame({"type": "response.created", "response": {"usage": None}})
    return first + framer.terminal(EVENT) + framer.after_terminal(EVENT)


@pytest.mark.parametrize("name", FRAMES)
def test_an_event_reader_finds_every_event(name: str) -> None:
    """Whatever the line ends, comments, fields and splits; the terminal event with its cost."""
    events = [json.loads(data) for _, data in read(written(FRAMES[name].frames)) if data != "[DONE]"]
    terminal = next(event for event in events if event["type"] == "response.completed")
    assert terminal["response"]["usage"]["cost"] == 1
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("sim/no-space", rb"\Aevent:response.created\ndata:\{"),
        ("sim/ids", rb"\nid: 0\nretry: 3000\ndata: "),
        ("sim/split-data", rb"\ndata: [^\n]+\ndata: [^\n]+\n"),
        ("sim/cr", rb"\A[^\n]*\r\r\Z"),
        ("sim/crlf", rb"\A([^\r\n]+\r\n[^\r\n]+\r\n\r\n)+\Z"),
        ("sim/bom", rb"\A\xef\xbb\xbfevent: "),
        ("sim/invalid-utf8", rb"S\xff\xc0\xaf\xe2\x82imulated"),
        ("sim/done", rb"data: \[DONE\]\n\n\Z"),
        ("sim/no-final-blank-line", rb"\}\Z"),
        ("sim/trailing-events", rb'response.completed.+: still here\n\n.+"ping".+"cost":0\}'),
    ],
)
def test_a_frame_is_written_as_its_name_says(name: str, pattern: bytes) -> None:
    """Seen in its bytes."""
    assert re.search(pattern, written(FRAMES[name].frames), re.DOTALL)


def test_a_mark_stands_once() -> None:
    """Before the first event alone."""
    assert written(Frames(bom=True)).count(BOM) == 1


async def test_a_body_takes_what_applies_to_it(simulator: SimulatorUnderTest) -> None:
    """The mark, and the bytes that are no UTF-8."""
    assert (await simulator.post("sim/bom")).content.startswith(BOM + b"{")
    with pytest.raises(UnicodeDecodeError):
        (await simulator.post("sim/invalid-utf8")).content.decode()


async def test_what_only_looks_like_an_end_is_text(simulator: SimulatorUnderTest) -> None:
    """One terminal event, whatever the text says; no object called usage outside its place has the cost."""
    streamed = await simulator.stream("sim/decoy-text")
    assert streamed.types.count("response.completed") == 1
    assert "event: response.completed" in streamed.events[-1]["response"]["output"][0]["content"][0]["text"]
    fields: dict[str, Any] = (await simulator.post("sim/decoy-fields")).json()
    assert fields["details"]["usage"]["cost"] == fields["output"][0]["details"]["cost"] == 0
    assert fields["usage"]["cost"] > 0
