"""What is fuzzed, and what must hold: each target takes any bytes and compares the code with a plain, slow reading.

Run by hypothesis in the default set (`test_targets`) and, guided by coverage, by atheris (`harness`). The plain
readings share no code with what they judge: whole input, one pass, the standard's words.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from app.core.errors import ApiError
from app.core.keys import new_secret, parse_bearer
from app.core.sse import EventSplitter
from app.core.stream_tap import StreamTap
from app.proxy.policy import Policy, read_policy
from tests.core.answers import SPOOFS, completed, created, delta, event, response, usage
from tests.core.test_sse import read_plainly
from tests.fuzz.reference import POLICY_FIELDS

TERMINAL = ("response.completed", "response.incomplete", "response.failed")
NAME_BYTES = 500
TERMINAL_NAMES = tuple(kind.encode() for kind in TERMINAL)


def chunks_of(data: bytes) -> tuple[list[bytes], bytes]:
    """The first byte says how the rest is cut; the chunks, and the rest."""
    size, rest = (data[0] % 64 if data else 0), data[1:]
    if size == 0:
        return [rest], rest
    if size == 1:  # as servers send: behind empty lines
        return [chunk for chunk in re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", rest) if chunk], rest
    if size == 2:
        size = 1
    return [rest[at : at + size] for at in range(0, len(rest), size)], rest


# --- event streams -----------------------------------------------------------------------------


def check_splitter(data: bytes) -> None:
    """Names and data are those of the standard's algorithm over the whole stream, whatever the chunks."""
    chunks, stream = chunks_of(data)
    splitter = EventSplitter(lambda name: True)
    events = [one for chunk in chunks for one in splitter.feed(chunk)]
    if last := splitter.finish():
        events.append(last)
    # Of a name that no event has, only both ends are kept.
    found = [(one.name[:NAME_BYTES], bytes(one.data), one.whole) for one in events]
    assert found == [(one.name[:NAME_BYTES], one.data, True) for one in _plainly(stream)]


def _plainly(stream: bytes) -> Iterator[Any]:
    """The standard's events, and, unlike it, one that is pending at the end."""
    yield from read_plainly(stream + b"\n\n" if stream and not stream.endswith((b"\n\n", b"\r\r")) else stream)


class _Twice(dict[str, Any]):
    """An object with a name that stands twice; `again` are those names."""

    again: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    made = _Twice(pairs)
    made.again = frozenset(name for name in names if names.count(name) > 1)
    return made


@dataclass(frozen=True)
class _Token:
    text: str


def _json(text: bytes) -> Any:
    """JSON with its numbers as text. Raises: `ValueError`, `RecursionError`."""
    return json.loads(
        text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"),
        object_pairs_hook=_object,
        parse_int=_Token,
        parse_float=_Token,
        parse_constant=_Token,
        strict=False,
    )


@dataclass
class _Plain:
    """What a stream says by a plain reading: its first end, and the true cost told there."""

    ended: bool = False
    true_cost: Decimal | None = None


def plain_end(stream: bytes) -> _Plain:
    for one in _plainly(stream):
        if one.name.startswith(b"response.") and one.name not in (*TERMINAL_NAMES, b"response.created"):
            continue  # by its name a delta: its data is not looked into
        try:
            told = _json(one.data)
        except (ValueError, RecursionError):
            continue
        if isinstance(told, dict) and told.get("type") in TERMINAL:
            return _Plain(ended=True, true_cost=_plain_cost(told))
    return _Plain()


def _plain_cost(told: dict[str, Any]) -> Decimal | None:
    """`response.usage.cost`, where each of these stands once and the last is a number that a request may cost."""
    place: Any = told
    for name in ("response", "usage"):
        if name in getattr(place, "again", ()):
            return None
        place = place.get(name)
        if not isinstance(place, dict):
            place = told if name == "response" else _Twice()
    token = place.get("cost")
    if not isinstance(token, _Token) or "cost" in place.again or len(token.text) > 200:
        return None
    try:
        value = Decimal(token.text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and 0 <= value <= 1000 else None


def check_stream_tap(data: bytes) -> None:
    """The end is found, its true cost is the one told there, and the bytes released before never hold an end."""
    chunks, stream = chunks_of(data)
    if stream.lstrip(b" \t\r\n\xef\xbb\xbf").startswith((b"{", b"[", b"<")):
        return  # read as a body, not as a stream
    tap = StreamTap()
    released = b""
    for chunk in chunks:
        ended = tap.ended
        waits_from = None if tap.passes(chunk) else tap.feed(chunk)
        released += chunk if waits_from is None else chunk[:waits_from]
        assert not (ended and waits_from != 0)
    before_the_end = tap.ended
    tap.finish()
    if tap.reading.unknown_reason == "event_too_large" and _renames(stream):
        # Its data was let go by its first name and looked for by its last: never a cost, at the worst an early end.
        assert not tap.reading.cost_known
        return
    plain = plain_end(stream)
    assert tap.ended == plain.ended
    if plain.ended:
        cost = tap.reading.true_cost
        assert (cost is None) == (plain.true_cost is None)
        assert cost is None or Decimal(cost.raw) == plain.true_cost
    if before_the_end:
        assert not plain_end_whole(released)


def _renames(stream: bytes) -> bool:
    """Some event has more than one `event:` line, which no server sends."""
    return len(re.findall(rb"(?:^|[\r\n])event", stream)) > len(list(_plainly(stream)))


def plain_end_whole(stream: bytes) -> bool:
    """Whether a client that got these bytes has a whole terminal event."""
    return any(
        isinstance(told := _try_json(one.data), dict) and told.get("type") in TERMINAL
        for one in read_plainly(stream)
        if not one.name.startswith(b"response.") or one.name in TERMINAL_NAMES
    )


def _try_json(text: bytes) -> Any:
    try:
        return _json(text)
    except (ValueError, RecursionError):
        return None


# --- policy ------------------------------------------------------------------------------------


def decoded_policy(body: bytes) -> Policy | ApiError:
    """`read_policy` without a loop: what it awaits are only turns for others."""
    reading = read_policy(body)
    try:
        while True:
            reading.send(None)
    except StopIteration as done:
        found: Policy = done.value
        return found
    except ApiError as error:
        return error


def check_policy(body: bytes) -> None:
    """Admitted exactly when a strict JSON parser reads an object whose policy fields stand once and are well."""
    found, plain = decoded_policy(body), _plain_policy(body)
    if isinstance(found, ApiError):
        assert found.status == 400
        assert found.message
        assert plain is None or _may_be_refused(plain), (body, found.message)
        return
    assert plain is not None, (body, found)
    assert (found.model, found.stream) == (plain["model"], plain.get("stream") is True)
    assert found.previous_response_id == plain.get("previous_response_id")


def _plain_policy(body: bytes) -> dict[str, Any] | None:
    def refused(token: str) -> Any:
        raise ValueError(token)

    try:
        members = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=refused)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, _Twice) or members.again & set(POLICY_FIELDS):
        return None
    model, reference = members.get("model"), members.get("previous_response_id")
    if not isinstance(model, str) or not model or members.get("background") not in (None, False):
        return None
    flags = [members.get(name) for name in ("stream", "background")]
    if not all(flag is None or isinstance(flag, bool) for flag in flags):
        return None
    return members if reference is None or isinstance(reference, str) else None


def _may_be_refused(plain: dict[str, Any]) -> bool:
    """What the gateway refuses beyond a strict parser: names that no name has, and what nests too deep."""
    names = [plain.get(name) or "" for name in ("model", "previous_response_id")]
    odd = any("\0" in name or len(name) > 1000 or re.search("[\ud800-\udfff]", name) for name in names)
    model = names[0]
    odd |= len(model) > 200 or model != model.strip() or re.search(r"[\x00-\x1f\x7f]", model) is not None
    return odd or _depth(plain) > 500 or any(isinstance(value, int) and abs(value) > 2**53 for value in plain.values())


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        deepest = max(deepest, depth)
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        waiting += [(each, depth + 1) for each in inner]
    return deepest


# --- keys --------------------------------------------------------------------------------------

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def check_bearer(value: bytes) -> None:
    """A secret is found exactly where scheme, blanks, alphabet, length and checksum are right, by hand."""
    assert parse_bearer(value) == _plain_bearer(value)


def _plain_bearer(value: bytes) -> str | None:
    if value[:6].lower() != b"bearer" or value[6:7] != b" ":
        return None
    text = value[6:].lstrip(b" ").rstrip(b" \t").decode("latin-1")
    body, checksum = text[4:66], text[66:]
    if text[:4] != "irg_" or len(text) != 73 or any(letter not in ALPHABET for letter in text[4:]):
        return None
    rest, digits = binascii.crc32(body.encode()), ""
    for _ in range(7):
        rest, digit = divmod(rest, 32)
        digits = ALPHABET[digit] + digits
    return text if digits == checksum else None


# --- all of them -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = field(repr=False)
    words: tuple[bytes, ...] = ()  # what a fuzzer puts together


_STREAMS = (
    created() + delta() + completed() + b"data: [DONE]\n\n",
    completed(named=False).replace(b"\n", b"\r\n"),
    b"\xef\xbb\xbf: PROCESSING\r\r" + completed(response(usage_text='{"cost":1e-5}')).replace(b"\n", b"\r"),
    completed(response(usage_text='{"cost":0.1,"cost":0}')),
    completed(response(usage_text='{"cost":null}'), members=',"cost":0.0001'),
    event("response.failed", ',"response":{"usage":{"cost":-1}}') + b"data: half",
    *(created() + delta(text) + completed(response(text)) for text in SPOOFS if len(text) < 400),
)
_WORDS = (
    b"\ndata: ", b"\nevent: ", b"\n\n", b"\r\r", b"\r\n\r\n", b'"type":"response.completed"', b'"response":{',
    usage().encode(), b'"usage":{"cost":', b'"cost":0', b"1e-7", b"NaN", b"\xef\xbb\xbf", b"event: response.completed",
)  # fmt: skip
_BODIES = (
    b'{"model":"m","input":"hi"}',
    b'{"model":"m","stream":true,"store":false,"max_output_tokens":1e3,"previous_response_id":"resp_1"}',
    b'{"input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}],"model":"m"}',
    b'{"mod\\u0065l":"a","model":"b"}',
    b'{"model":"\\ud800","x":[[[{}]]],"background":false}',
    b' {"model" : "m" , "conversation" : null } ',
)
_NAMES = (*(f'"{name}":'.encode() for name in POLICY_FIELDS), b"\\u00", b"true")
_BEARERS = (
    b"Bearer " + new_secret().text.encode(),
    b"bearer   " + new_secret().text.encode() + b" \t",
    b"Bearer irg_" + b"0" * 69,
    b"Basic aXJnXw==",
)

TARGETS = {
    "sse": Target(check_splitter, tuple(b"\x07" + one for one in _STREAMS), _WORDS),
    "tap": Target(check_stream_tap, tuple(way + one for way in (b"\x01", b"\x11") for one in _STREAMS), _WORDS),
    "policy": Target(check_policy, _BODIES, _NAMES),
    "keys": Target(check_bearer, _BEARERS, (b"Bearer ", b"irg_")),
}
