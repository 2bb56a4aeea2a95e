"""Events as lines of JSON, and in them configured secrets and anything like a team key masked.

The masking is a second net: nothing should reach it. Called by `app.telemetry` only.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import quote

import msgspec

REDACTED = "«redacted»".encode()

# A shorter text would be masked where it is no secret.
MASKED_CHARACTERS_MIN = 8

_TEAM_KEY = re.compile(rb"irg_[0-9a-hjkmnp-tv-z]{20,}")

Event = MutableMapping[str, Any]


class Rendering:
    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= MASKED_CHARACTERS_MIN}
        forms = {form for secret in known for form in (secret, quote(secret, safe=""), _in_json(secret))}
        self._secrets = tuple(form.encode() for form in sorted(forms, key=len, reverse=True))

    def __call__(self, _logger: Any, _method: str, event: Event) -> tuple[tuple[bytes], dict[str, Any]]:
        """As a processor of structlog's."""
        return (self.lines((event,)),), {}

    def lines(self, events: Iterable[Event | msgspec.Struct]) -> bytes:
        """A line for each of them. (JSON holds no end of a line: they are searched together.)"""
        text = b"\n".join(map(_to_json, events))
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        if b"irg_" in text:
            text = _TEAM_KEY.sub(REDACTED, text)
        if not text.isascii() or b"\x7f" in text:
            text = b"\n".join(map(_visible, text.split(b"\n")))
        return text + b"\n"


_encoder = msgspec.json.Encoder(enc_hook=str)


def _to_json(event: Event | msgspec.Struct) -> bytes:
    """One line, whatever an event holds: half a surrogate pair or a number of forty digits must not lose it."""
    try:
        return _encoder.encode(event)
    except (msgspec.MsgspecError, ValueError, OverflowError, TypeError):
        told = msgspec.structs.asdict(event) if isinstance(event, msgspec.Struct) else event
        return json.dumps(told, default=str).encode()


def _visible(line: bytes) -> bytes:
    """The same JSON with escapes for what cannot be seen, and outside of JSON ends a line or steers a terminal."""
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in line.decode()).encode()


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else json.dumps(letter)[1:-1]


def _in_json(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]


_second: tuple[int, str] = (-1, "")  # the last one, and its text


def time_text(at_ns: int) -> str:
    """What `format_time` says of an instant, in ns since 1970; most of it is the same for all lines of a second."""
    global _second  # noqa: PLW0603 - a thread that sets it to another second spoils nothing
    second, ms = divmod(at_ns // 1_000_000, 1000)
    known, text = _second
    if known != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, text)
    return f"{text}.{ms:03d}Z"
