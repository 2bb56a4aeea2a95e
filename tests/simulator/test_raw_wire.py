"""The bytes of HTTP itself, for what no HTTP client shows: heads, chunks, lengths, and how a connection ends."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from app.simulator.request import SIMULATE_HEADER
from tests.simulated_upstream import RESPONSES, SimulatorUnderTest

QUIET_SECONDS = 0.5
KEY = "upstream-key-of-this-test"


@dataclass(frozen=True)
class Heard:
    """Everything that came, and how it ended: `closed`, `reset`, or `open` when no more came."""

    raw: bytes
    end: str

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


async def hear(simulator: SimulatorUnderTest, name: str, *, stream: bool = False) -> Heard:
    where = urlsplit(simulator.url)
    body = json.dumps({"model": "openai/gpt-4o-mini", "input": "Say hello", "stream": stream}).encode()
    lines = [f"POST {RESPONSES} HTTP/1.1", "Host: simulator", f"Authorization: Bearer {KEY}"]
    lines += [f"{SIMULATE_HEADER}: {name}", f"Content-Length: {len(body)}", "", ""]
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    raw, end = b"", "open"
    try:
        writer.write("\r\n".join(lines).encode() + body)
        while True:
            piece = await asyncio.wait_for(reader.read(65536), QUIET_SECONDS)
            if not piece:
                end = "closed"
                break
            raw += piece
    except TimeoutError:
        pass
    except ConnectionResetError:
        end = "reset"
    finally:
        writer.close()
    return Heard(raw, end)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("cut-before-headers", "closed"),
        ("reset-before-headers", "reset"),
        ("stall-before-headers", "open"),
    ],
)
async def test_no_head_comes(simulator: SimulatorUnderTest, name: str, end: str) -> None:
    """Not a byte, and three ways to end."""
    assert await hear(simulator, name) == Heard(b"", end)


@pytest.mark.parametrize(
    ("name", "end", "last_bytes"),
    [
        ("cut-midstream", "closed", rb"\n\n\r\n"),
        ("reset-midstream", "reset", rb"\n\n\r\n"),
        ("stall", "open", rb"\n\n\r\n"),
        ("half-event", "closed", rb"[^\n]\r\n"),
        ("half-event-reset", "reset", rb"[^\n]\r\n"),
        ("half-event-stall", "open", rb"[^\n]\r\n"),
        ("half-event-end", "open", rb"[^\n]\r\n0\r\n\r\n"),
        ("half-chunk", "closed", rb"\r\n400\r\nevent: response\.output_te"),
        ("bad-chunk", "closed", rb"\r\nzz\r\nevent: ping\r\n"),
        ("cut-before-terminal", "closed", rb"\n\n\r\n"),
        ("stall-before-terminal", "open", rb"\n\n\r\n"),
        ("cut-inside-terminal", "closed", rb"[^\n]\r\n"),
        ("cut-after-terminal", "closed", rb"\}\n\n\r\n"),
        ("open-after-terminal", "open", rb"\}\n\n\r\n"),
        ("no-terminal", "open", rb"\n\n\r\n0\r\n\r\n"),
        ("fast", "open", rb"\}\n\n\r\n0\r\n\r\n"),
    ],
)
async def test_a_stream_ends_as_its_name_says(
    simulator: SimulatorUnderTest, name: str, end: str, last_bytes: bytes
) -> None:
    """In its last bytes, and in what becomes of the connection."""
    heard = await hear(simulator, name, stream=True)
    assert heard.end == end
    if end != "reset":  # which may overtake what was sent
        assert re.search(last_bytes + rb"\Z", heard.raw)
        assert (b"response.completed" in heard.raw) == (name in COMPLETED)


COMPLETED = {"cut-inside-terminal", "cut-after-terminal", "open-after-terminal", "fast"}


@pytest.mark.parametrize(("name", "difference"), [("length-too-long", 100), ("length-too-short", -100), ("fast", 0)])
async def test_a_length_can_lie(simulator: SimulatorUnderTest, name: str, difference: int) -> None:
    """All of the body comes, whatever its head said; of a stream, too."""
    heard = await hear(simulator, name)
    told = re.search(rb"content-length: (\d+)", heard.head)
    assert told is not None
    assert int(told[1]) == len(heard.body) + difference
    assert json.loads(heard.body)["status"] == "completed"
    assert heard.end == ("closed" if difference > 0 else "open")


async def test_a_body_may_end_with_its_connection(simulator: SimulatorUnderTest) -> None:
    """Neither length nor chunks."""
    for stream in (False, True):
        heard = await hear(simulator, "close-delimited", stream=stream)
        assert heard.end == "closed"
        assert b"connection: close" in heard.head
        assert not re.search(rb"content-length|transfer-encoding", heard.head)
        assert heard.body.endswith(b"\n\n" if stream else b"}")


async def test_answers_may_come_before_the_answer(simulator: SimulatorUnderTest) -> None:
    """103 with a header of its own, and 100."""
    heard = await hear(simulator, "early-hints")
    statuses = re.findall(rb"^HTTP/1\.1 (\d+)", heard.raw, re.MULTILINE)
    assert statuses == [b"103", b"100", b"200"]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("garbage", rb"SSH-2\.0"),
        ("bad-header", rb"HTTP/1\.1 200 OK\r\nno colon here\r\n"),
        ("half-head", rb"HTTP/1\.1 200 OK\r\ncontent-ty\Z"),
        ("two-lengths", rb"content-length: 2\r\ncontent-length: 3\r\n"),
        ("header-flood", rb"(x-\d+: f{1000}\r\n){900}"),
    ],
)
async def test_what_comes_instead_of_an_answer(simulator: SimulatorUnderTest, name: str, raw: bytes) -> None:
    """Then the connection closes."""
    heard = await hear(simulator, name)
    assert re.search(raw, heard.raw)
    assert heard.end == "closed"


async def test_something_may_stand_behind_an_answer(simulator: SimulatorUnderTest) -> None:
    """Another answer, or no HTTP at all."""
    second = await hear(simulator, "second-answer")
    assert second.raw.count(b"HTTP/1.1 200 OK") == 2
    assert json.loads(second.raw.rpartition(b"\r\n\r\n")[2])["id"] == "resp_stray"
    assert (await hear(simulator, "garbage-behind")).raw.endswith(b"\x00\xffgarbage\r\n")


@pytest.mark.parametrize(("name", "size"), [("one-byte", 1), ("odd-chunks", 37)])
async def test_chunks_have_their_size(simulator: SimulatorUnderTest, name: str, size: int) -> None:
    """But for the last of each event."""
    heard = await hear(simulator, name, stream=True)
    sizes = [int(found, 16) for found in re.findall(rb"(?:\A|\r\n)([0-9a-f]+)\r\n", heard.body)]
    assert sizes[-1] == 0
    assert max(sizes) == size


async def test_a_key_is_shown_to_whoever_sent_it(simulator: SimulatorUnderTest) -> None:
    """In headers, plainly and in base64, and in the text; nowhere else."""
    headers, body = await hear(simulator, "key-in-header"), await hear(simulator, "key-in-body")
    assert f"x-key: {KEY}".encode() in headers.head
    assert b"x-key-base64: dXBzdHJlYW0ta2V5LW9mLXRoaXMtdGVzdA==" in headers.head
    assert KEY.encode() in body.body
    assert KEY.encode() not in (await hear(simulator, "fast")).raw


async def test_headers_that_concern_one_hop_are_sent(simulator: SimulatorUnderTest) -> None:
    """And cookies, and redirects with their place."""
    hop = (await hear(simulator, "hop-by-hop")).head
    assert b"connection: x-hop\r\nx-hop: 1" in hop
    assert (await hear(simulator, "cookies")).head.count(b"set-cookie: ") == 2
    redirect = await hear(simulator, "redirect")
    assert redirect.head.startswith(b"HTTP/1.1 302 ")
    assert b"location: https://elsewhere.example/" in redirect.head
