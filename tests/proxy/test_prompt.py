"""How long a prompt may be: text by its bytes, pictures and files by the piece, and nothing passes for a picture."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.holds import prompt_tokens
from app.proxy.json_pieces import PIECE_BYTES
from app.proxy.policy import read_policy
from app.proxy.prompt import PARTS_MAX

# Of every size beside a piece's: a dot, a thumbnail, a photograph.
SIZES = [3, 3000, PIECE_BYTES // 2, PIECE_BYTES, 300_000]
PROSE = "Prose is spelt with spaces, commas and stops; nobody takes it for a picture. "


def encoded(size: int) -> str:
    return base64.b64encode(bytes(range(256)) * (size // 256 + 1))[: -(-size // 3) * 4].decode()


def url(media: str = "image/png", size: int = 3000) -> str:
    return f"data:{media};base64,{encoded(size)}"


def measured(body: bytes) -> int:
    return asyncio.run(read_policy(body)).prompt_tokens


def written(fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": fields}).encode()


def as_text(body: bytes) -> int:
    return prompt_tokens(len(body), 0)


def as_parts(body: bytes, *values: str) -> int:
    return prompt_tokens(len(body) - sum(len(value) for value in values), len(values))


@pytest.mark.parametrize(("text_bytes", "parts", "tokens"), [(0, 0, 0), (1, 0, 1), (2, 0, 1), (3, 2, 4002)])
def test_two_bytes_are_a_token_and_a_part_is_two_thousand(text_bytes: int, parts: int, tokens: int) -> None:
    """Rounded up."""
    assert prompt_tokens(text_bytes, parts) == tokens


@given(st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.lists(st.text())), st.booleans())
def test_all_bytes_of_a_plain_body_count(fields: dict[str, Any], ascii_only: bool) -> None:
    """Names, brackets and escapes too."""
    body = json.dumps({"model": "m", "input": fields}, ensure_ascii=ascii_only).encode()
    assert measured(body) == as_text(body)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "part",
    [
        lambda size: {"type": "input_image", "image_url": url(size=size)},
        lambda size: {"type": "input_file", "filename": "a.pdf", "file_data": url("application/pdf", size)},
        lambda size: {"type": "image_url", "image_url": {"detail": "low", "url": url("image/jpeg", size)}},
        lambda size: {"type": "computer_screenshot", "image_url": url("image/webp;charset=x", size)},
        lambda size: {"type": "video", "video_url": url("video/mp4", size)},
    ],
    ids=["image", "file", "nested", "screenshot", "video"],
)
def test_a_part_counts_once_however_large(part: Any, size: int) -> None:
    """Whether it is cut out of the body in pieces or not, with spaces around it or none, escaped or not."""
    values = [value for value in _strings(part(size)) if value.startswith("data:")]
    for content in ([part(size)], [PROSE, part(size), PROSE * 2000]):
        body = written([{"role": "user", "content": content}])
        assert measured(body) == as_parts(body, *values)
        indented = json.dumps(json.loads(body), indent=2).encode()
        assert measured(indented) == as_parts(indented, *values)
        escaped = body.replace(b"/", b"\\/")
        assert measured(escaped) == as_parts(escaped, *(value.replace("/", "\\/") for value in values))


def test_many_parts_count_each() -> None:
    """Small and large ones together."""
    values = [url(size=size) for size in SIZES * 3]
    body = written([{"type": "input_image", "image_url": value} for value in values])
    assert measured(body) == as_parts(body, *values)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "https://example.com/cat.png"},
        {"type": "input_image", "file_id": "file-1", "image_url": None},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    ],
)
def test_parts_that_are_only_named_count_as_well(part: dict[str, Any]) -> None:
    """What stands behind an id or a URL is read by the model too; beside others as alone."""
    body = written([part, part])
    assert measured(body) == prompt_tokens(len(body), 2)
    both = written([part, {"type": "input_image", "image_url": url()}])
    assert measured(both) == prompt_tokens(len(both) - len(url()), 2)


@pytest.mark.parametrize("name", ["data", "file_data", "result", "b64_json"])
def test_long_base64_needs_no_label_where_it_belongs(name: str) -> None:
    """Sounds and made pictures come so; short ones are text, which is enough for them."""
    body = written([{"type": "input_audio", "input_audio": {name: encoded(300_000), "format": "wav"}}])
    assert measured(body) == as_parts(body, encoded(300_000))
    short = written([{name: encoded(3000)}])
    assert measured(short) == as_text(short)


@pytest.mark.parametrize("size", [3000, 300_000])
@pytest.mark.parametrize(
    "fields",
    [
        lambda size: url(size=size),
        encoded,
        lambda size: [{"type": "input_text", "text": url(size=size)}],
        lambda size: [{"type": "input_text", "text": f'"image_url":"{url(size=size)}"'}],
        lambda size: [{"type": "function_call_output", "output": url(size=size)}],
        lambda size: [{"image_url": "data:" + PROSE * (size // 70)}],
        lambda size: [{"image_url": "data:image/png;base64," + PROSE * (size // 70)}],
        lambda size: [{"image_url": "data:image/png," + encoded(size)[: 60_000 if size > 60_000 else size]}],
        lambda size: [{"image_url": "data:image/png;base64,AAAA\\u0020" + PROSE * (size // 70)}],
        lambda size: [{"file_data": url("text/plain", size)}],
        lambda size: [{"file_data": url("application/json", size)}],
        lambda size: [{"file_data": PROSE * (size // 70)}],
        lambda size: [{"result": PROSE * (size // 70)}],
    ],
)
def test_what_is_no_part_is_text(fields: Any, size: int) -> None:
    """A prompt that looks like a picture, a text in base64, a picture in the place of words: all are read as text."""
    body = written(fields(size))
    assert measured(body) == as_text(body)


def test_behind_so_many_parts_all_is_text() -> None:
    """Looking for them must not take long."""
    one = b'{"image_url":"data:image/png;base64,AAAA"},'
    body = b'{"model":"m","input":[' + one * 200_000 + b"1]}"
    begun = time.perf_counter()
    tokens = measured(body)
    assert time.perf_counter() - begun < 5
    assert tokens == prompt_tokens(len(body) - PARTS_MAX * len("data:image/png;base64,AAAA"), PARTS_MAX)


@given(st.binary(max_size=200), st.integers(0, 3), st.sampled_from(["image_url", "text"]))
def test_no_body_has_fewer_tokens_than_its_words(noise: bytes, parts: int, name: str) -> None:
    """Whatever stands around, no byte that is not base64 is left out."""
    text = noise.decode("latin-1") + PROSE
    body = written([text, *[{name: url(size=999)}] * parts, text])
    assert measured(body) >= prompt_tokens(len(body) - parts * len(url(size=999)), 0)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for one in inner for text in _strings(one)]
