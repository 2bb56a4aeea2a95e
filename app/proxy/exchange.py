"""Everything one request holds, and the one place where it ends.

An `Exchange` takes a place among those in flight, is admitted by the ledger (the hold is
taken there), opens the upstream, and is settled exactly once, whatever happens. Its end
can be forced from outside (`abort`): by a client that left for too long, or by shutdown.
Bytes are moved elsewhere (`relay`); the story in order is in `endpoint`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import UTC, datetime

from app.accounts.ledger import Ledger
from app.accounts.pricing import Pricing
from app.core.errors import ApiError, invalid_api_key, model_not_allowed, response_not_found
from app.core.ids import new_id
from app.core.records import Admitted, Intent, Outcome, Reading, RefusalReason, Refused, Settlement
from app.core.refusals import limit_error
from app.core.value import Value, replace
from app.core.verdict import Break, Verdict, judge
from app.proxy.guard import Connection
from app.proxy.inflight import Inflight
from app.proxy.memory import Share
from app.proxy.upstream.port import Answer, Fault, Upstream, UpstreamError, UpstreamRequest, UpstreamTimeout
from app.telemetry import log_request

# The ledger's word for each way in which an upstream breaks off.
BREAK_REASONS: dict[Fault, str] = {
    Fault.DNS: "upstream_unreachable",
    Fault.REFUSED: "upstream_unreachable",
    Fault.CERTIFICATE: "upstream_unreachable",
    Fault.TLS: "upstream_unreachable",
    Fault.CONNECT: "upstream_unreachable",
    Fault.CONNECT_TIMEOUT: "upstream_unreachable",
    Fault.RESET: "upstream_reset",
    Fault.EOF: "upstream_eof",
    Fault.PROTOCOL: "upstream_protocol",
    Fault.HEAD_TIMEOUT: "upstream_timeout",
    Fault.IDLE_TIMEOUT: "upstream_stalled",
    Fault.ABORTED: "aborted",
}

# An exchange that is ended from outside may be waiting for a client that reads nothing: it gets so long.
ABORT_LINGER_SECONDS = 2.0


class ClientGone(Value, frozen=True):
    """What happens when a client leaves: `drain` reads on for so long, else the upstream is cut at once."""

    drain: bool
    seconds: float


class _Done:
    """What is done already: to await it takes no coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield  # so that it is a generator


_DONE = _Done()


class Exchange:
    """One downstream request and its upstream answer. Use as `async with exchange:`, without `as`."""

    __slots__ = (
        "_answer",
        "_gone",
        "_inflight",
        "_intent",
        "_ledger",
        "_opening",
        "_settled",
        "_started",
        "_timer",
        "_ttfb_ms",
        "_upstream_key",
        "aborted",
        "admitted",
        "connection",
        "created_at",
        "memory",
        "request_id",
        "upstream_id",
    )

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        inflight: Inflight,
        gone: ClientGone,
        upstream_key: bytes | None = None,
    ) -> None:
        self.created_at = datetime.now(UTC)
        self.request_id = new_id("req", self.created_at)
        self.connection = connection
        self.admitted: Admitted | None = None
        self.aborted: Outcome | None = None
        self.upstream_id: str | None = None  # the upstream's own id of the request
        self.memory = Share(inflight.answers)
        self._ledger = ledger
        self._inflight = inflight
        self._gone = gone
        self._upstream_key = upstream_key  # no id or name that shows it is booked
        self._timer: asyncio.TimerHandle | None = None
        self._started = time.monotonic()
        self._ttfb_ms: int | None = None
        self._intent: Intent | None = None
        self._opening: asyncio.Task[object] | None = None  # who waits for the upstream to begin
        self._answer: Answer | None = None
        self._settled = False

    def __aenter__(self) -> _Done:
        return _DONE

    def __aexit__(self, *exc: object) -> Awaitable[None]:
        """Closes, also when cancelled: the connection given back or cut, the row closed, the place left."""
        self.connection.watch(None)
        if self._timer is not None:
            self._timer.cancel()
        if (self._answer is not None and not self._answer.closed) or not self._settled:
            return self._close()
        self.memory.release()
        self._inflight.leave(self)
        return _DONE

    async def _close(self) -> None:
        """What has to be waited for: the answer's end, a settlement that nobody made."""
        try:
            if self._answer is not None:
                await self._answer.aclose()
        finally:
            try:
                if not self._settled:
                    # Only a fault of our own leads here; the cost may be real, so it is unknown, not free.
                    await self.settle(Reading(), Break("gateway_fault", Outcome.SHUT_DOWN))
            finally:
                self.memory.release()
                self._inflight.leave(self)

    @property
    def settled(self) -> bool:
        return self._settled

    @property
    def over(self) -> bool:
        return self._settled and self.connection.gone

    def take_place(self) -> None:
        """Among those in flight. Raises: `ApiError` 503."""
        self._inflight.enter(self)

    async def admit(self, intent: Intent, pricing: Pricing, named_by: Mapping[str, str]) -> Admitted:
        """Writes the intent: from here on the ledger has a row. `named_by`: the member that names each reference.

        Raises: `ApiError`, `LedgerUnavailable`.
        """
        verdict = await self._ledger.admit(intent)
        pricing.needed(intent, verdict)
        if isinstance(verdict, Refused):
            raise _refusal(verdict, intent, named_by)
        self.admitted, self._intent = verdict, intent
        return verdict

    async def open(self, upstream: Upstream, request: UpstreamRequest) -> Answer:
        """Sends the request up and waits for the head of the answer. Raises: `UpstreamError`."""
        self.connection.watch(self._client_left)
        if self.aborted is not None:
            raise UpstreamError(Fault.ABORTED, sent=False)
        self._opening = asyncio.current_task()
        try:
            self._answer = answer = await upstream.open(request)
        except asyncio.CancelledError:
            if self.aborted is None or self._opening is None:
                raise
            self._opening.uncancel()  # it was `abort`, and nobody else
            raise UpstreamError(Fault.ABORTED, sent=True) from None
        finally:
            self._opening = None
        self._ttfb_ms = self._elapsed_ms()
        if self.aborted is not None:
            answer.abort()
        return answer

    def abort(self, outcome: Outcome) -> None:
        """Ends the exchange soon, from outside: the upstream is cut, what was learnt is settled."""
        if self.aborted is not None:
            return
        self.aborted = outcome
        self._later(ABORT_LINGER_SECONDS, self.connection.abort)
        if self._answer is not None:
            self._answer.abort()
        elif self._opening is not None:
            self._opening.cancel()

    def broken_by(self, error: UpstreamError) -> Break:
        """The ledger's view of an upstream failure."""
        if error.fault is Fault.ABORTED and self.aborted is not None:
            return Break(self.aborted.value, self.aborted, sent=error.sent)
        timed_out = isinstance(error, UpstreamTimeout)
        outcome = Outcome.TIMED_OUT if timed_out else Outcome.UPSTREAM_DISCONNECTED
        return Break(BREAK_REASONS[error.fault], outcome, sent=error.sent)

    async def settle(self, reading: Reading, broke: Break | None = None) -> None:
        """Closes the ledger entry; returns when it is committed (or in the spool). The second call does nothing.

        Raises: `LedgerLost` when neither could be written.
        """
        if self._settled or self._intent is None or self.admitted is None:
            return
        self._settled = True
        status = self._answer.status if self._answer is not None else None
        retry_after = status == 503 and self._answer is not None and b"retry-after" in self._answer.named
        verdict = judge(status, reading, retry_after=retry_after, broke=broke, client_left=self.connection.gone)
        settlement = self._settlement(verdict, reading, status)
        await self._ledger.settle(settlement)
        log_request(self._intent, self.admitted, settlement)

    def _settlement(self, verdict: Verdict, reading: Reading, status: int | None) -> Settlement:
        return Settlement(
            request_id=self.request_id,
            state=verdict.state,
            outcome=verdict.outcome,
            reading=_newly_made(_without(reading, self._upstream_key), self._intent),
            status=status,
            unknown_reason=verdict.unknown_reason,
            upstream_request_id=self.upstream_id,
            ttfb_ms=self._ttfb_ms,
            duration_ms=self._elapsed_ms(),
        )

    def _client_left(self) -> None:
        """The answer is read on without its client: it is billed, so its cost must be learnt."""
        if not self._gone.drain:
            self.abort(Outcome.CLIENT_DISCONNECTED)
            return
        self._later(self._gone.seconds, lambda: self.abort(Outcome.CLIENT_DISCONNECTED))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        """What happens if the exchange has not ended by then; it replaces what was to happen before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)


def _without(reading: Reading, upstream_key: bytes | None) -> Reading:
    """A reading that names nothing by our upstream key, should the upstream have reflected it."""
    if upstream_key is None:
        return reading
    texts = (reading.response_id, *reading.made, reading.model_answered, reading.true_cost_token, reading.charged_token)
    if upstream_key.decode("ascii", "replace") not in "\n".join(filter(None, texts)):
        return reading
    return replace(reading, response_id=None, made=(), model_answered=None, true_cost_token=None, charged_token=None)


def _newly_made(reading: Reading, intent: Intent | None) -> Reading:
    """Without what the request referred to itself: a container that was there already is not made by using it."""
    if intent is None or not intent.references:
        return reading
    return replace(reading, made=tuple(one for one in reading.made if one not in intent.references))


def _refusal(refused: Refused, intent: Intent, named_by: Mapping[str, str]) -> ApiError:
    match refused.reason:
        case RefusalReason.KEY_REFUSED:
            return invalid_api_key()
        case RefusalReason.MODEL_NOT_ALLOWED:
            return model_not_allowed(intent.model, refused.allowed_models)
        case RefusalReason.RESPONSE_NOT_FOUND:
            reference = refused.reference or ""
            return response_not_found(reference, named_by.get(reference, "previous_response_id"))
        case _:
            return limit_error(refused, intent.request_id)
