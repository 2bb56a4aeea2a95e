"""What an httpx error means: whose fault, and whether the request had been sent. Called by `httpx` beside it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from app.proxy.upstream.port import Fault, UpstreamError, UpstreamTimeout


def failure_of(error: BaseException, *, in_head: bool) -> UpstreamError | None:
    """What an httpx error means, in fixed words; None if it is no error of the wire."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return UpstreamTimeout(Fault.CONNECT_TIMEOUT, sent=False)
        case httpx.ConnectError() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return UpstreamError(_connect_fault(error), sent=False)
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            return UpstreamTimeout(Fault.HEAD_TIMEOUT if in_head else Fault.IDLE_TIMEOUT, sent=True)
        case httpx.RemoteProtocolError():
            closed = str(error).startswith(("peer closed connection", "Server disconnected"))
            return UpstreamError(Fault.EOF if closed else Fault.PROTOCOL, sent=True)
        case httpx.LocalProtocolError():
            return UpstreamError(Fault.PROTOCOL, sent=False)
        case httpx.TransportError():
            return UpstreamError(Fault.RESET, sent=True)
    return None


def _connect_fault(error: BaseException) -> Fault:
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return Fault.CERTIFICATE
            case ssl.SSLError():
                return Fault.TLS
            case socket.gaierror():
                return Fault.DNS
            case ConnectionRefusedError():
                return Fault.REFUSED
    return Fault.CONNECT


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and everything that led to it, groups included."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__cause__, cause.__context__]
        if isinstance(cause, BaseExceptionGroup):
            waiting += cause.exceptions
