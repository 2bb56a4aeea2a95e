"""The table of `sim/…` models: one row for each behaviour that can be asked for by name.

Rows only; what they mean is in `behaviours`.
"""

from __future__ import annotations

from decimal import Decimal

from app.simulator.behaviours import Behaviour, Costs, Ending, Frames, Kind, Parameter, Telling
from app.simulator.errors import ErrorAnswer, error_answer, unauthorized

_RATE_LIMIT_HEADERS = (
    ("retry-after", "1"),
    ("ratelimit-limit", "20"),
    ("ratelimit-remaining", "0"),
    ("ratelimit-reset", "1"),
)

# Seen on routes that send status 200 and white space while they work, and fail afterwards.
_ERROR_UNDER_200 = ErrorAnswer(
    200,
    b'  \n{"error":{"message":"Insufficient credits","type":"insufficient_credits"}}',
    content_type=None,
)

_HTML_PAGE = ErrorAnswer(
    502,
    b"<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>",
    content_type="text/html",
)


def _fixed(usd: str) -> Costs:
    return Costs(amount=Decimal(usd))


def _token(token: str) -> Costs:
    return Costs(true_cost=token, charged=token)


_ERRORS = (
    ("sim/400", "400", error_answer(400, "invalid_request_error", "The model does not take this request.")),
    ("sim/401", "401, as for a wrong upstream key", unauthorized()),
    ("sim/402", "402, out of credits", error_answer(402, "insufficient_credits", "Insufficient credits")),
    ("sim/403", "403", error_answer(403, "access_denied", "This model is not open to this account.")),
    (
        "sim/429",
        "429 with Retry-After and RateLimit-*",
        error_answer(429, "rate_limit_error", "Too many requests.", headers=_RATE_LIMIT_HEADERS),
    ),
    ("sim/500", "500", error_answer(500, "internal_error", "Something went wrong.")),
    (
        "sim/503",
        "503 with Retry-After",
        error_answer(503, "internal_error", "Overloaded.", headers=(("retry-after", "1"),)),
    ),
    ("sim/html-error", "502 with an HTML page", _HTML_PAGE),
    ("sim/200-error", "status 200, white space, an error body, no content type", _ERROR_UNDER_200),
)

MODELS: dict[str, Behaviour] = {
    # --- time ---
    "sim/fast": Behaviour(summary="answers at once"),
    "sim/slow": Behaviour(
        summary="1.5 s to the first byte (:MS sets it), 20 ms between events",
        first_seconds=1.5,
        between_seconds=0.02,
        parameter=Parameter.FIRST_MS,
    ),
    "sim/stream-pause": Behaviour(
        summary="0.2 s between two events (:MS sets it)", between_seconds=0.2, parameter=Parameter.BETWEEN_MS
    ),
    "sim/words": Behaviour(summary="an answer of 500 words (:N sets it)", words=500, parameter=Parameter.WORDS),
    # --- what is said ---
    "sim/reasoning": Behaviour(summary="thinks first: a reasoning item and its tokens", reasoning=True),
    "sim/refusal": Behaviour(summary="declines: a refusal part instead of text", kind=Kind.REFUSAL),
    "sim/failed": Behaviour(summary="generates, then fails: status failed, with usage", ending=Ending.FAILED),
    # --- costs ---
    "sim/seed": Behaviour(summary="true cost 0.0000123, charged 0.0001", usage=(12, 24), costs=_fixed("0.0000123")),
    "sim/exact": Behaviour(summary="true cost 0.0001, charged 0.0001", costs=_fixed("0.0001")),
    "sim/just-over": Behaviour(summary="true cost 0.00010001, charged 0.0002", costs=_fixed("0.00010001")),
    "sim/free": Behaviour(summary="true cost 0, charged 0", costs=_fixed("0")),
    "sim/float-cost": Behaviour(
        summary="a true cost of 22 decimals, as a float sum gives it", costs=_fixed("0.0000123456789012345678")
    ),
    "sim/exponent-cost": Behaviour(
        summary="true cost 1.23e-05, written so",
        costs=Costs(amount=Decimal("0.0000123"), true_cost="1.23e-05", charged="1e-04"),
    ),
    "sim/charged-in-stream": Behaviour(
        summary="streams tell the charged cost too (any model: suffix :both)", costs=Costs(charged_in_stream=True)
    ),
    "sim/no-cost": Behaviour(
        summary="billed, but no cost is told", costs=Costs(true_cost=Telling.LEFT_OUT, charged=Telling.LEFT_OUT)
    ),
    "sim/cost-null": Behaviour(summary="billed, but both costs are null", costs=_token("null")),
    "sim/cost-nan": Behaviour(summary="billed, but both costs are NaN (no JSON)", costs=_token("NaN")),
    "sim/extra-usage": Behaviour(summary="unknown fields in usage, a cost among them", extra_usage=True),
    # --- frames ---
    "sim/data-only": Behaviour(summary="events without an event: line", frames=Frames(named=False)),
    "sim/comments": Behaviour(summary="comment lines between events", frames=Frames(comments=True)),
    "sim/done": Behaviour(summary="data: [DONE] after the terminal event", frames=Frames(done=True)),
    # --- ends ---
    "sim/no-terminal": Behaviour(
        summary="a stream that ends cleanly without its terminal event", ending=Ending.NO_TERMINAL
    ),
    "sim/cut-midstream": Behaviour(summary="the connection breaks inside the answer", ending=Ending.CUT),
    "sim/stall": Behaviour(summary="falls silent inside the answer", ending=Ending.STALL),
    # --- errors; nothing is billed ---
    **{name: Behaviour(summary=summary, error=answer) for name, summary, answer in _ERRORS},
}
