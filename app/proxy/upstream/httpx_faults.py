"""What an error of httpcore means: whose fault, and whether the request had been sent. Called by `httpx` beside it."""

from __future__ import annotations

import httpcore

from app.proxy.upstream.httpx_attempt import Attempt, ConnectFault, Phase
from app.proxy.upstream.port import Fault, UpstreamError, UpstreamTimeout

_TIMEOUTS = {Phase.CONNECTING: Fault.CONNECT_TIMEOUT, Phase.BODY: Fault.IDLE_TIMEOUT}

_WIRE_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError, httpcore.TimeoutException)


def failure_of(error: Exception, attempt: Attempt) -> Exception:
    """The port's error, in fixed words; an error that is none of the wire's is a bug and stays what it is."""
    if attempt.aborted:
        return UpstreamError(Fault.ABORTED, sent=attempt.sent)
    if isinstance(error, httpcore.TimeoutException):
        return UpstreamTimeout(_TIMEOUTS.get(attempt.phase, Fault.HEAD_TIMEOUT), sent=attempt.sent)
    if isinstance(error, _WIRE_ERRORS):
        return UpstreamError(_fault(error, attempt), sent=attempt.sent)
    return error


def _fault(error: Exception, attempt: Attempt) -> Fault:
    if isinstance(error, ConnectFault):
        return error.fault
    if isinstance(error, httpcore.LocalProtocolError):
        return Fault.PROTOCOL  # a header that cannot be sent
    if not attempt.sent:
        return Fault.CONNECT
    if isinstance(error, httpcore.RemoteProtocolError):
        return Fault.EOF if attempt.ended else Fault.PROTOCOL
    return Fault.RESET
