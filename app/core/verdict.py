"""How an exchange ends in the ledger: one pure decision over what the upstream said and what broke.

States: `settled` when a cost was told, `free` when surely nothing was billed, `unknown`
otherwise; unknown is never booked as zero. Called by `proxy.exchange` at every end.
Source: ImageRouter's pages and public server (4xx before generation costs nothing; a
timeout may still be billed), 2026.
"""

from __future__ import annotations

from app.core.records import Outcome, Reading, State
from app.core.value import Value


class Verdict(Value, frozen=True):
    state: State
    outcome: Outcome
    unknown_reason: str | None = None


class Break(Value, frozen=True):
    """What cut an exchange short. `reason` is the ledger's word for it; `sent` as in `UpstreamError`."""

    reason: str
    outcome: Outcome
    sent: bool = True


def judge(
    status: int | None,
    reading: Reading,
    *,
    retry_after: bool = False,
    broke: Break | None = None,
    client_left: bool = False,
) -> Verdict:
    """The verdict over an exchange. `status` None = no head arrived; `retry_after` = the head had that header."""
    outcome = _outcome(status, reading, broke, client_left)
    if reading.cost_known:
        return Verdict(State.SETTLED, outcome)
    if broke is not None and not broke.sent:
        return Verdict(State.FREE, outcome)
    if status is not None and _surely_free(status, reading, retry_after):
        return Verdict(State.FREE, outcome)
    return Verdict(State.UNKNOWN, outcome, _reason(status, reading, broke))


def _outcome(status: int | None, reading: Reading, broke: Break | None, client_left: bool) -> Outcome:
    if broke is not None and not reading.complete:
        return broke.outcome
    if status is None or status >= 300 or reading.failed:
        return Outcome.UPSTREAM_ERROR
    return Outcome.CLIENT_DISCONNECTED if client_left else Outcome.COMPLETED


def _surely_free(status: int, reading: Reading, retry_after: bool) -> bool:
    if status == 408:
        return False
    if 300 <= status < 500:
        return True
    if status == 503 and retry_after:
        return True
    return status < 300 and reading.error_body


def _reason(status: int | None, reading: Reading, broke: Break | None) -> str:
    if broke is not None and not reading.complete:
        return broke.reason
    if status is not None and status >= 400:
        return f"upstream_status_{status}"
    return reading.unknown_reason or "no_cost"
