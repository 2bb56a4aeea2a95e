"""The gateway's duties in callbacks and nothing around them: what a hot path without tasks and ASGI could come to.

Each is done by the function that does it in the gateway: the head known again, the policy, the intent, the cost, the
verdict, the settlement, the log line, the head for the client. By hand: the head that goes up, and the look for the
upstream key. Left out, so that this is less than what a gateway needs: the ledger, the exchange, the key, the route,
what a request may refer to, all bounds and deadlines, and whoever leaves or breaks. A reference for the bench, for
whole answers alone; run as `python -m tests.bench.references.duties PORT`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from app.accounts.catalog import Catalog
from app.accounts.pricing import Pricing
from app.core.headers import client_response_headers
from app.core.ids import new_id
from app.core.records import Admitted, Intent, Settlement
from app.core.tap import open_tap
from app.core.verdict import judge
from app.proxy.allowed import Allowed, check_policy
from app.proxy.guard import Connection
from app.proxy.guard.cycle import Cycle
from app.proxy.guard.known_head import KnownHead, learn
from app.proxy.head import Head, Heads, UpstreamCredential
from app.proxy.outbox import Outbox
from app.proxy.policy import Policy, read_policy
from app.telemetry import configure, log_request

_WHERE = urlsplit(os.environ.get("BENCH_UPSTREAM_URL", ""))
_CREDENTIAL = UpstreamCredential(b"upstream-key-0123456789")
_HEADS = Heads(host=_WHERE.netloc.encode(), extra=frozenset())
_PRICING = Pricing(Catalog(cast("Any", None), cast("Any", None)))
_ALLOWED = Allowed()


class Upward(asyncio.BufferedProtocol):
    """One connection to the upstream."""

    transport: asyncio.Transport
    client: Client
    room = memoryview(bytearray(256 * 1024))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.on_body = self.body.append
        self.parser = httptools.HttpResponseParser(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.parser.feed_data(self.room[:nbytes])

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        body, headers = b"".join(self.body), self.headers
        self.body.clear()
        self.headers = []
        _free.append(self)
        self.client.answered(self.parser.get_status_code(), headers, body)


_free: list[Upward] = []


class Client(asyncio.Protocol):
    """One client's connection, and its request."""

    transport: asyncio.Transport
    outbox: Outbox
    known: KnownHead | None = None
    intent: Intent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.connection = Connection(cast("Any", self))
        self.came = b""

    def data_received(self, data: bytes) -> None:
        again = self.known.again(data, 0) if self.known is not None else None
        if again is None:
            self.first(data)
            return
        self.connection.facts = again.facts
        self.begin(again.scope, data[again.body_at : again.body_at + again.length])

    def begin(self, scope: dict[str, Any], body: bytes) -> None:
        self.asked(scope, body)

    def first(self, data: bytes) -> None:
        """A head that is not known is taken apart when its body has come; any other request comes whole."""
        self.came += data
        raw, end, body = self.came.partition(b"\r\n\r\n")
        if not end:
            return
        lines = [line.split(b": ", 1) for line in raw.split(b"\r\n")[1:]]
        headers = [(name.lower(), value) for name, value in lines]
        if len(body) < int(dict(headers)[b"content-length"]):
            return
        scope = {"method": "POST", "headers": headers}
        self.known, self.came = learn(raw + end, scope, self.connection.facts), b""
        self.begin(scope, body)

    def asked(self, scope: dict[str, Any], body: bytes) -> None:
        self.started = time.monotonic()
        at = datetime.now(UTC)
        request_id = new_id("req", at)
        head = _HEADS.read(self.connection, scope["headers"], _CREDENTIAL)
        policy = _now(read_policy(body))
        check_policy(policy, _ALLOWED)
        self.cycle = Cycle(cast("Any", self), scope, keep_alive=True)
        asked = _PRICING.asked(
            policy.model, prompt_tokens=policy.prompt_tokens, max_output_tokens=policy.max_output_tokens
        )
        self.intent = Intent(
            request_id,
            "key_01",
            str(head.secret_hash),
            at,
            policy.model,
            policy.stream,
            head.sdk_retry,
            tuple(policy.references),
            asked=asked,
        )
        self.admitted = Admitted(request_id, "bench", None)
        self.forward(head, body)

    def forward(self, head: Head, body: bytes) -> None:
        if not _free:
            connecting = asyncio.ensure_future(_connected())
            connecting.add_done_callback(lambda done: self._forward_by(done.result(), head, body))
            return
        self._forward_by(_free.pop(), head, body)

    def _forward_by(self, upward: Upward, head: Head, body: bytes) -> None:
        if head.upward.prepared is None:
            lines = b"".join(b"%b: %b\r\n" % header for header in head.upward.headers)
            head.upward.prepared = b"POST /v1/openai/responses HTTP/1.1\r\n" + lines
        upward.client = self
        self.outbox.write(upward.transport, b"%bcontent-length: %d\r\n\r\n" % (head.upward.prepared, len(body)) + body)

    def answered(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        named = dict(headers)
        tap = open_tap(named.get(b"content-type"), None, requested_stream=False)
        told, upstream_id = client_response_headers(
            headers, request_id=self.intent.request_id, upstream_key=_CREDENTIAL.watched
        )
        tap.feed(body)
        reading = tap.finish()
        verdict = judge(status, reading)
        duration_ms = round((time.monotonic() - self.started) * 1000)
        settlement = Settlement(
            request_id=self.intent.request_id,
            state=verdict.state,
            outcome=verdict.outcome,
            reading=reading,
            status=status,
            unknown_reason=verdict.unknown_reason,
            upstream_request_id=upstream_id,
            ttfb_ms=duration_ms,
            duration_ms=duration_ms,
        )
        log_request(self.intent, self.admitted, settlement)
        if body.find(_CREDENTIAL.key) >= 0:
            raise RuntimeError("the upstream told its key")
        self.cycle.answer_nowait(status, told, body)

    # --- as the cycle sees it ---

    def write(self, data: bytes) -> None:
        self.outbox.write(self.transport, data)

    def on_response_complete(self) -> None:
        pass


def _now(coroutine: Coroutine[Any, Any, Policy]) -> Policy:
    """What a coroutine comes to that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("Policy", end.value)
    raise RuntimeError("it waits")


async def _connected() -> Upward:
    loop = asyncio.get_running_loop()
    _, upward = await loop.create_connection(Upward, _WHERE.hostname or "", _WHERE.port or 80)
    return upward


async def serve(port: int, protocol: type[Client] = Client) -> None:
    configure("info")
    Client.outbox = Outbox()
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
