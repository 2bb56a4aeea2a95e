"""Models that differ in the head of their answers, or answer with none."""

from __future__ import annotations

from app.simulator.behaviours import Behaviour, Form, Kind, Transfer

_HOP_BY_HOP = (
    ("connection", "x-hop"),
    ("x-hop", "1"),
    ("keep-alive", "timeout=30"),
    ("proxy-authenticate", "Basic"),
    ("trailer", "x-later"),
    ("upgrade", "h2c"),
)
_COOKIES = (("set-cookie", "session=1; Path=/"), ("set-cookie", "other=2"), ("set-cookie2", "old=3"))
_ORIGIN = (
    ("access-control-allow-origin", "*"),
    ("strict-transport-security", "max-age=31536000"),
    ("content-security-policy", "default-src 'none'"),
    ("x-frame-options", "DENY"),
    ("location", "https://elsewhere.example/"),
    ("refresh", "0; url=https://elsewhere.example/"),
    ("x-accel-redirect", "/secret"),
    ("alt-svc", 'h3=":443"'),
    ("x-irg-request-id", "req_forged"),
    ("x-error-source", "forged"),
)


def _instead(summary: str, raw: bytes) -> Behaviour:
    return Behaviour(summary=summary, transfer=Transfer(instead=raw))


HEADS: dict[str, Behaviour] = {
    "sim/text-plain": Behaviour(
        summary="the answer as it should be, but as text/plain", transfer=Transfer(content_type="text/plain")
    ),
    "sim/no-content-type": Behaviour(summary="no Content-Type", transfer=Transfer(content_type=None)),
    "sim/stream-as-json": Behaviour(
        summary="a stream that calls itself application/json",
        transfer=Transfer(content_type="application/json"),
        unreadable_stream=True,
    ),
    "sim/always-body": Behaviour(
        summary="JSON, though a stream was asked for", transfer=Transfer(form=Form.ALWAYS_BODY)
    ),
    "sim/always-stream": Behaviour(
        summary="a stream, though none was asked for", transfer=Transfer(form=Form.ALWAYS_STREAM)
    ),
    "sim/early-hints": Behaviour(summary="103 and 100 before the answer", transfer=Transfer(interim=(103, 100))),
    "sim/hop-by-hop": Behaviour(
        summary="hop-by-hop headers, and one that Connection names", transfer=Transfer(headers=_HOP_BY_HOP)
    ),
    "sim/cookies": Behaviour(summary="Set-Cookie", transfer=Transfer(headers=_COOKIES)),
    "sim/origin-headers": Behaviour(
        summary="headers that would act on the gateway's own origin, or speak in its name",
        transfer=Transfer(headers=_ORIGIN),
    ),
    "sim/key-in-header": Behaviour(
        summary="the upstream key in two headers, once in base64",
        transfer=Transfer(headers=(("x-key", "{key}"), ("x-key-base64", "{key64}"), ("x-harmless", "1"))),
    ),
    "sim/key-in-body": Behaviour(summary="the upstream key in the text", kind=Kind.KEY),
    "sim/key-in-pieces": Behaviour(
        summary="the upstream key in the text, cut over many chunks", kind=Kind.KEY, transfer=Transfer(piece_bytes=5)
    ),
    "sim/garbage": _instead("generates, then answers in no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n"),
    "sim/bad-header": _instead(
        "generates, then a head with a broken line", b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}"
    ),
    "sim/half-head": _instead("generates, then half a head", b"HTTP/1.1 200 OK\r\ncontent-ty"),
    "sim/two-lengths": _instead(
        "generates, then a head with two lengths",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
    ),
    "sim/header-flood": _instead(
        "generates, then a head of 1 MB",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %s\r\n" % (number, b"f" * 1000) for number in range(1000)) + b"\r\n",
    ),
}
