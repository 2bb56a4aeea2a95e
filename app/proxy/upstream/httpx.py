"""The stock transport: httpx's connection pools (httpcore), several of them, behind our port.

Rules of this file:
- httpcore is never cancelled: it leaks pool slots when it is. One task of its own does all
  that a request needs of it, from the first byte to giving the connection back. Whoever
  waits for that task may leave; the connection is then cut and the task ends by itself.
- An answer is cut at its connection (`httpx_wire`), which wakes the task at once.
- Pools, not a client: no cookie jar, no redirects, no proxies from the environment.
- A pool walks all its connections for each request, so there are several.

The wire knows deadlines, idle connections' age and what was written; httpcore knows HTTP/1.1.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import httpcore

from app.outgoing.trust import trust
from app.proxy.upstream.connecting import RESPONSES_PATH, Connecting
from app.proxy.upstream.httpx_answer import HttpxAnswer
from app.proxy.upstream.httpx_network import Network
from app.proxy.upstream.port import Answer, Fault, UpstreamError, UpstreamRequest

# A pool's work for one request grows with its connections: 1,000 of them over 8 pools is 125 each.
POOLS = 8


@dataclass(slots=True, eq=False)
class _Pool:
    connections: httpcore.AsyncConnectionPool
    load: int = 0  # requests that it serves now


class HttpxUpstream:
    """`Upstream` over httpcore's pools."""

    def __init__(self, connecting: Connecting) -> None:
        origin = urlsplit(connecting.origin)
        self._connecting = connecting
        target = origin.path.rstrip("/") + RESPONSES_PATH
        self._url = httpcore.URL(scheme=origin.scheme, host=origin.hostname or "", port=origin.port, target=target)
        self._network = Network()
        self._pools = self._new_pools()
        self._answers: set[HttpxAnswer] = set()
        self._closed = False

    async def open(self, request: UpstreamRequest) -> Answer:
        """See `Upstream.open`. A caller that is cancelled leaves nothing open: the upstream is cut."""
        if self._closed:
            raise UpstreamError(Fault.ABORTED, sent=False)
        pool = min(self._pools, key=lambda pool: pool.load)
        pool.load += 1

        def done() -> None:
            pool.load -= 1
            self._answers.discard(answer)

        answer = HttpxAnswer(pool.connections, self._url, self._connecting, request, done)
        self._answers.add(answer)
        await answer.begun()
        return answer

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.gather(*(answer.aclose() for answer in list(self._answers)))
        for pool in self._pools:
            await pool.connections.aclose()
        await self._network.aclose()

    def _new_pools(self) -> list[_Pool]:
        tls = trust(self._connecting.ca_file) if self._needs_tls() else None
        # No bound on connections: the gateway bounds its exchanges, and nobody may wait for a slot.
        # No expiry either: the wire knows its own age.
        options: dict[str, Any] = {"ssl_context": tls, "max_connections": None, "network_backend": self._network}
        if self._connecting.proxy is None:
            return [_Pool(httpcore.AsyncConnectionPool(**options)) for _ in range(POOLS)]
        proxy = urlsplit(self._connecting.proxy)
        options["proxy_url"] = httpcore.URL(scheme=proxy.scheme, host=proxy.hostname or "", port=proxy.port, target="/")
        options["proxy_auth"] = _credentials(proxy)
        options["proxy_ssl_context"] = tls if proxy.scheme == "https" else None
        return [_Pool(httpcore.AsyncHTTPProxy(**options)) for _ in range(POOLS)]

    def _needs_tls(self) -> bool:
        urls = (self._connecting.origin, self._connecting.proxy or "")
        return any(urlsplit(url).scheme == "https" for url in urls)


def _credentials(url: SplitResult) -> tuple[bytes, bytes] | None:
    if url.username is None:
        return None
    return unquote(url.username).encode(), unquote(url.password or "").encode()
