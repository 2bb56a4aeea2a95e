"""Makes malformed requests: valid ones that were bent in one to five places, the same for the same seed.

Lives here: the valid requests and the ways to bend them. What must become of them says `test_wire`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Bend = Callable[[random.Random, bytes], bytes]

# Where parsers differ: line ends, blanks, controls, high bytes, separators.
ODD = (
    b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\0", b"\t", b" ", b"\x0b", b"\x7f", b"\x80", b"\xff", b"\xc3\x28",
    b":", b";", b",", b'"', b"\\", b"{", b"}", b"[", b"]", b"%00", b"%0d%0a", b"..", b"//", b"#", b"?", b"0", b"-1",
)  # fmt: skip

HEADERS = (
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: -5", b"Content-Length: 0x5",
    b"Content-Length: 5, 5", b"Content-Length: 99999999999999999999", b"Content-Length: ", b"Content-Length: 5 5",
    b"Content-Length : 5", b" Content-Length: 5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity", b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer_Encoding: chunked", b"Transfer-Encoding: chunked\r\n chunked",
    b"Host: other.example", b"Host: ", b"Host: a b", b"Authorization: Bearer x", b"Authorization:", b"Cookie: a=b",
    b"Connection: close", b"Connection: authorization", b"Connection: Upgrade\r\nUpgrade: h2c", b"Expect: 100-continue",
    b"Content-Encoding: gzip", b"X-Forwarded-For: 127.0.0.1", b"X-Stainless-Retry-Count: \xb2", b"X: \r\n folded",
    b"X\0: y", b"X: a\0b", b"X: a\rb", b"X: a\nY: b", b": empty", b"no colon", b"Very-Long: " + b"v" * 9000,
    b"Content-Type: application/json; charset=utf-16", b"OpenAI-Beta: \xff", b"User-Agent: a\x01b",
)  # fmt: skip

STARTS = (
    b"GET", b"PUT", b"post", b"POST ", b" POST", b"P\0ST", b"CONNECT", b"OPTIONS", b"TRACE", b"HEAD", b"PRI", b"",
)  # fmt: skip
TARGETS = (
    b"/v1/openai/responses", b"/v1/responses", b"/v1/responses/", b"//v1/responses", b"/v1/../v1/responses", b"*",
    b"/v1/responses?x=1", b"/v1/responses#x", b"/v1/%72esponses", b"http://other.example/v1/responses", b"other:443",
    b"/admin/v1/keys", b"/v1/me", b"/v1/models", b"/healthz", b"/openapi.json", b"/v1/responses HTTP/1.1 x", b"",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"HTTP/1.10", b"")
SIZES = (
    b"-1",
    b"+5",
    b"0x5",
    b"5 ",
    b" 5",
    b"5;",
    b"5;a=b",
    b"5\n",
    b"g",
    b"",
    b"ffffffffffffffff",
    b"00000005",
    b"5\0",
)


def valid(chance: random.Random, secret: str, marker: str) -> bytes:
    """One of the requests that clients send."""
    body = b'{"model":"m","input":"%s","stream":%s}' % (marker.encode(), chance.choice((b"true", b"false")))
    head = b"POST /v1/openai/responses HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer " + secret.encode()
    head += b"\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    kind = chance.randrange(6)
    if kind == 0:
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(chance, body)
    if kind == 1:  # two on one connection
        return (head + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 2
    if kind == 2:
        path = chance.choice((b"/v1/models", b"/v1/me", b"/v1/me/usage?by=day", b"/admin/v1/keys", b"/healthz"))
        return b"GET " + path + b" HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer " + secret.encode() + b"\r\n\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(1, len(body))
    pieces = (body[:at], body[at:])
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def malformed(seed: int, secret: str) -> bytes:
    """The request of this seed; now and then the bends leave it valid."""
    chance = random.Random(seed)
    raw = valid(chance, secret, f"marker-{seed}")
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        raw = chance.choice(BENDS)(chance, raw)
    return raw


# --- ways to bend ------------------------------------------------------------------------------


def _flip(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]


def _insert(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.choice(ODD) + raw[at:]


def _delete(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + raw[at + chance.randrange(1, 40) :]


def _repeat(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    end = at + chance.randrange(1, 200)
    return raw[:end] + raw[at:end] * chance.choice((1, 1, 2, 50)) + raw[end:]


def _truncate(chance: random.Random, raw: bytes) -> bytes:
    return raw[: chance.randrange(len(raw) + 1)]


def _line_ends(chance: random.Random, raw: bytes) -> bytes:
    return raw.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\n\r", b"\r\r\n", b" \r\n")), chance.choice((1, 2, -1)))


def _header(chance: random.Random, raw: bytes) -> bytes:
    """One more line somewhere in the head."""
    lines = raw.split(b"\r\n")
    head_lines = lines.index(b"") if b"" in lines else len(lines)
    lines.insert(chance.randrange(0, head_lines + 1), chance.choice(HEADERS))
    return b"\r\n".join(lines)


def _line_twice(chance: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    at = chance.randrange(len(lines))
    return b"\r\n".join(lines[: at + 1] + lines[at:])


def _line_gone(chance: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    del lines[chance.randrange(len(lines))]
    return b"\r\n".join(lines)


def _request_line(chance: random.Random, raw: bytes) -> bytes:
    words = raw.split(b"\r\n", 1)[0].split(b" ")
    choices = (STARTS, TARGETS, VERSIONS)
    which = chance.randrange(3)
    if len(words) > which:
        words[which] = chance.choice(choices[which])
    return b" ".join(words) + raw[raw.find(b"\r\n") :] if b"\r\n" in raw else raw


def _chunk_size(chance: random.Random, raw: bytes) -> bytes:
    head, end, body = raw.partition(b"\r\n\r\n")
    size, mark, rest = body.partition(b"\r\n")
    return head + end + chance.choice(SIZES) + mark + rest if mark else head + end + size + chance.choice(ODD)


def _json(chance: random.Random, raw: bytes) -> bytes:
    """The body becomes other JSON, or almost JSON, of its own length."""
    head, end, body = raw.partition(b"\r\n\r\n")
    pieces = (
        b'{"model":"m","model":"n"}', b'{"mod\\u0065l":"m","model":"n"}', b"[1]", b'"m"', b"null", b'{"model":1}',
        b'{"model":""}', b'{"model":"m","stream":1}', b'{"model":"m","background":true}', b'{"model":"m"}}',
        b'{"model":"m","previous_response_id":"resp_of_nobody"}', b'{"model":"m","conversation":"c"}', b"{" * 600,
        b'{"model":"m","a":' + b"[" * 600 + b"]" * 600 + b"}", b'{"model":"\xff"}', b'\xef\xbb\xbf{"model":"m"}',
        b'{"model":"m","x":NaN}', b'{"model":"m","x":01}', b'{"model":"m",}', b"{'model':'m'}", b'{"model":"m\\ud800"}',
    )  # fmt: skip
    made = chance.choice(pieces)
    if chance.random() < 0.8:
        head = head.replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % len(made))
    return head + end + made


BENDS: tuple[Bend, ...] = (
    _flip, _flip, _insert, _insert, _delete, _repeat, _truncate, _line_ends, _header, _header, _header, _line_twice,
    _line_gone, _request_line, _request_line, _chunk_size, _json, _json,
)  # fmt: skip
