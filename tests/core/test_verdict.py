"""Every way in which an exchange can end has its place in the ledger."""

from __future__ import annotations

import pytest

from app.core.records import Cost, Outcome, Reading, State
from app.core.value import replace
from app.core.verdict import Break, Verdict, judge

KNOWN = Reading(true_cost=Cost("0.0000123", 12_300_000), complete=True)
SILENT = Reading(unknown_reason="no_cost", complete=True)
CUT = Reading(unknown_reason="no_terminal_event")
RESET = Break("upstream_reset", Outcome.UPSTREAM_DISCONNECTED)
STALL = Break("upstream_stalled", Outcome.TIMED_OUT)
REFUSED = Break("upstream_unreachable", Outcome.UPSTREAM_DISCONNECTED, sent=False)


@pytest.mark.parametrize(
    ("status", "reading", "options", "expected"),
    [
        (200, KNOWN, {}, Verdict(State.SETTLED, Outcome.COMPLETED)),
        (200, KNOWN, {"client_left": True}, Verdict(State.SETTLED, Outcome.CLIENT_DISCONNECTED)),
        (200, replace(KNOWN, failed=True), {}, Verdict(State.SETTLED, Outcome.UPSTREAM_ERROR)),
        (200, SILENT, {}, Verdict(State.UNKNOWN, Outcome.COMPLETED, "no_cost")),
        (200, CUT, {}, Verdict(State.UNKNOWN, Outcome.COMPLETED, "no_terminal_event")),
        (200, CUT, {"broke": RESET}, Verdict(State.UNKNOWN, Outcome.UPSTREAM_DISCONNECTED, "upstream_reset")),
        (200, CUT, {"broke": STALL}, Verdict(State.UNKNOWN, Outcome.TIMED_OUT, "upstream_stalled")),
        # After the terminal event a break changes nothing.
        (200, KNOWN, {"broke": RESET}, Verdict(State.SETTLED, Outcome.COMPLETED)),
        (200, SILENT, {"broke": RESET}, Verdict(State.UNKNOWN, Outcome.COMPLETED, "no_cost")),
        # An error under status 200.
        (
            200,
            replace(SILENT, failed=True, error_body=True),
            {},
            Verdict(State.FREE, Outcome.UPSTREAM_ERROR),
        ),
        (
            200,
            replace(KNOWN, failed=True, error_body=True),
            {},
            Verdict(State.SETTLED, Outcome.UPSTREAM_ERROR),
        ),
        (200, replace(SILENT, failed=True), {}, Verdict(State.UNKNOWN, Outcome.UPSTREAM_ERROR, "no_cost")),
        # Error statuses.
        (400, SILENT, {}, Verdict(State.FREE, Outcome.UPSTREAM_ERROR)),
        (401, SILENT, {}, Verdict(State.FREE, Outcome.UPSTREAM_ERROR)),
        (429, SILENT, {}, Verdict(State.FREE, Outcome.UPSTREAM_ERROR)),
        (429, KNOWN, {}, Verdict(State.SETTLED, Outcome.UPSTREAM_ERROR)),
        (408, SILENT, {}, Verdict(State.UNKNOWN, Outcome.UPSTREAM_ERROR, "upstream_status_408")),
        (500, SILENT, {}, Verdict(State.UNKNOWN, Outcome.UPSTREAM_ERROR, "upstream_status_500")),
        (503, SILENT, {}, Verdict(State.UNKNOWN, Outcome.UPSTREAM_ERROR, "upstream_status_503")),
        (503, SILENT, {"retry_after": True}, Verdict(State.FREE, Outcome.UPSTREAM_ERROR)),
        (302, SILENT, {}, Verdict(State.FREE, Outcome.UPSTREAM_ERROR)),
        # No head.
        (None, Reading(), {"broke": REFUSED}, Verdict(State.FREE, Outcome.UPSTREAM_DISCONNECTED)),
        (None, Reading(), {"broke": RESET}, Verdict(State.UNKNOWN, Outcome.UPSTREAM_DISCONNECTED, "upstream_reset")),
        (
            None,
            Reading(),
            {"broke": Break("shut_down", Outcome.SHUT_DOWN)},
            Verdict(State.UNKNOWN, Outcome.SHUT_DOWN, "shut_down"),
        ),
    ],
)
def test_verdicts(status: int | None, reading: Reading, options: dict[str, object], expected: Verdict) -> None:
    """A told cost settles; surely not billed is free; all else is unknown with its reason."""
    assert judge(status, reading, **options) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [None, 200, 400, 408, 429, 500, 503])
@pytest.mark.parametrize("broke", [None, RESET, STALL])
def test_an_unknown_always_has_its_reason(status: int | None, broke: Break | None) -> None:
    """No row says `unknown` without saying why, and none says why without being unknown."""
    if status is None and broke is None:
        return
    verdict = judge(status, Reading(), broke=broke)
    assert (verdict.state is State.UNKNOWN) == (verdict.unknown_reason is not None)
