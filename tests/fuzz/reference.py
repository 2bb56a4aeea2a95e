"""A plain, slow, strict reader of HTTP/1.1 requests (RFC 9112): which of a connection's requests are well-formed?

It shares nothing with the server: whatever the gateway forwards, this must have read as a whole, valid request of a
key's holder. It stops at the first thing that is not exactly by the book.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x22\x24-\x7e]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_LENGTH = re.compile(rb"[0-9]+")

PATHS = (b"/v1/openai/responses", b"/v1/responses")
POLICY_FIELDS = ("model", "stream", "background", "previous_response_id", "conversation", "max_output_tokens", "store")


class Malformed(ValueError):
    """The bytes are no request by the book, or not a whole one."""


@dataclass(frozen=True)
class WholeRequest:
    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known.lower() == name]


def whole_requests(raw: bytes) -> list[WholeRequest]:
    """The requests on a connection up to the first fault."""
    found: list[WholeRequest] = []
    at = 0
    try:
        while at < len(raw):
            while raw.startswith(b"\r\n", at):  # a robust server passes over empty lines (RFC 9112 §2.2)
                at += 2
            if at == len(raw):
                break
            request, at = _request(raw, at)
            found.append(request)
    except Malformed:
        pass
    return found


def _request(raw: bytes, at: int) -> tuple[WholeRequest, int]:
    line, at = _line(raw, at)
    first = _REQUEST_LINE.fullmatch(line)
    if first is None:
        raise Malformed
    fields, at = _fields(raw, at)
    hosts = [value for name, value in fields if name.lower() == b"host"]
    if len(hosts) > 1 or (not hosts and line.endswith(b"1.1")):
        raise Malformed
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or line.endswith(b"1.0"):
            raise Malformed
        body, at = _chunked(raw, at)
    elif lengths:
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]) or len(raw) - at < int(lengths[0]):
            raise Malformed
        body, at = raw[at : at + int(lengths[0])], at + int(lengths[0])
    else:
        body = b""
    return WholeRequest(first[1], first[2], fields, body), at


def _line(raw: bytes, at: int) -> tuple[bytes, int]:
    end = raw.find(b"\r\n", at)
    if end < 0:
        raise Malformed
    return raw[at:end], end + 2


def _fields(raw: bytes, at: int) -> tuple[list[tuple[bytes, bytes]], int]:
    fields: list[tuple[bytes, bytes]] = []
    while True:
        line, at = _line(raw, at)
        if not line:
            return fields, at
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Malformed
        fields.append((field[1], field[2]))


def _chunked(raw: bytes, at: int) -> tuple[bytes, int]:
    body = b""
    while True:
        line, at = _line(raw, at)
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise Malformed
        count = int(size[1], 16)
        if count == 0:
            _, at = _fields(raw, at)
            return body, at
        if raw[at + count : at + count + 2] != b"\r\n":
            raise Malformed
        body, at = body + raw[at : at + count], at + count + 2


def forwardable(request: WholeRequest, secret: str) -> bool:
    """A key's holder asks, in full and in plain words, for a response of a model."""
    authorizations = request.values(b"authorization")
    if request.method != b"POST" or request.target.split(b"?")[0] not in PATHS or len(authorizations) != 1:
        return False
    if re.fullmatch(rb"(?i:bearer) +" + secret.encode(), authorizations[0]) is None:
        return False
    codings = request.values(b"content-encoding")
    return all(coding.lower() in (b"", b"identity") for coding in codings) and _asks_for_a_model(request.body)


def _asks_for_a_model(body: bytes) -> bool:
    seen: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        seen[:] = [name for name, _ in members]  # the outermost object is built last
        return dict(members)

    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict) or any(seen.count(name) > 1 for name in POLICY_FIELDS):
        return False
    refused = value.get("background") or value.get("previous_response_id") or value.get("conversation")
    model = value.get("model")
    return isinstance(model, str) and bool(model) and not refused
