"""Models that answer with an error. But for those that say so, they bill nothing."""

from __future__ import annotations

from app.simulator.behaviours import Behaviour, Form, Transfer
from app.simulator.errors import ErrorAnswer, Headers, error_answer, unauthorized

_RATE_LIMIT_HEADERS = (
    ("retry-after", "1"),
    ("retry-after-ms", "1500"),
    ("ratelimit-limit", "20"),
    ("ratelimit-remaining", "0"),
    ("ratelimit-reset", "1"),
)
_SERVER_ERROR = "Something went wrong."
_HTML = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"

# Seen on routes that send status 200 and white space while they work, and fail afterwards.
_ERROR_UNDER_200 = ErrorAnswer(
    200,
    b'  \n{"error":{"message":"Insufficient credits","type":"insufficient_credits"}}',
    content_type=None,
)
_ERROR_FRAME = ErrorAnswer(
    200,
    b'data: {"error":{"message":"Provider returned error","type":"internal_error"}}\n\n',
    content_type="text/event-stream",
    free=False,
)


def _client(status: int, type_: str, message: str, headers: Headers = (), *, free: bool = True) -> ErrorAnswer:
    return error_answer(status, type_, message, headers=headers, free=free)


def _server(status: int, headers: Headers = (), *, free: bool = False) -> ErrorAnswer:
    return error_answer(status, "internal_error", _SERVER_ERROR, headers=headers, free=free)


def _page(status: int, body: bytes, content_type: str | None = "text/html") -> ErrorAnswer:
    return ErrorAnswer(status, body, content_type, free=status < 500)


def _redirect(status: int) -> ErrorAnswer:
    return ErrorAnswer(status, b"", None, (("location", "https://elsewhere.example/v1/openai/responses"),))


_ANSWERS = (
    ("sim/400", "400", _client(400, "invalid_request_error", "The model does not take this request.")),
    ("sim/401", "401, as for a wrong upstream key", unauthorized()),
    ("sim/402", "402, out of credits", _client(402, "insufficient_credits", "Insufficient credits")),
    ("sim/403", "403", _client(403, "access_denied", "This model is not open to this account.")),
    ("sim/404", "404", _client(404, "not_found", "This model does not exist.")),
    (
        "sim/408",
        "408, which does not say how far things had come",
        _client(408, "timeout", "The request timed out.", free=False),
    ),
    ("sim/409", "409", _client(409, "conflict", "Another request is at work.")),
    ("sim/422", "422", _client(422, "invalid_request_error", "The input cannot be processed.")),
    (
        "sim/429",
        "429 with Retry-After, retry-after-ms and RateLimit-*",
        _client(429, "rate_limit_error", "Too many requests.", _RATE_LIMIT_HEADERS),
    ),
    ("sim/500", "500", _server(500)),
    ("sim/500-retry", "500 with x-should-retry: true", _server(500, (("x-should-retry", "true"),))),
    ("sim/502", "502, in JSON", _server(502)),
    ("sim/503", "503 with Retry-After: nothing was begun", _server(503, (("retry-after", "1"),), free=True)),
    ("sim/503-plain", "503 without Retry-After", _server(503)),
    ("sim/504", "504", _server(504)),
    ("sim/529", "529, a status that no list has", _server(529)),
    ("sim/html-error", "502 with an HTML page", _page(502, _HTML)),
    ("sim/html-404", "404 with an HTML page", _page(404, _HTML)),
    ("sim/empty-500", "500 with nothing", _page(500, b"", None)),
    ("sim/empty-404", "404 with nothing", _page(404, b"", None)),
    ("sim/text-500", "500 with text that calls itself JSON", _page(500, b"upstream error", "application/json")),
    ("sim/redirect", "302 with Location", _redirect(302)),
    ("sim/redirect-308", "308 with Location", _redirect(308)),
    ("sim/200-error", "status 200, white space, an error body, no content type", _ERROR_UNDER_200),
    ("sim/200-error-frame", "status 200, a stream with nothing but an error in it", _ERROR_FRAME),
    ("sim/200-html", "status 200, an HTML page", ErrorAnswer(200, _HTML, "text/html", free=False)),
    ("sim/200-text", "status 200, text that calls itself JSON", ErrorAnswer(200, b"OK", free=False)),
    ("sim/200-empty", "status 200, nothing", ErrorAnswer(200, b"", free=False)),
    ("sim/200-half-json", "status 200, JSON that breaks off", ErrorAnswer(200, b'{"id":"resp_1","out', free=False)),
)


def _billed(summary: str, answer: ErrorAnswer) -> Behaviour:
    return Behaviour(summary=summary, error=answer, error_is_billed=True, transfer=Transfer(form=Form.ALWAYS_BODY))


ERRORS: dict[str, Behaviour] = {
    **{name: Behaviour(summary=summary, error=answer) for name, summary, answer in _ANSWERS},
    "sim/400-billed": _billed("billed all the same: 400 that states its costs", _ANSWERS[0][2]),
    "sim/500-billed": _billed("billed all the same: 500 that states its costs", _server(500)),
    "sim/200-error-billed": _billed("billed all the same: status 200, an error body with costs", _server(200)),
}
