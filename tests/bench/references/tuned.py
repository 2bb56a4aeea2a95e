"""As far as httpx goes: a raw ASGI callable, eight clients with a pool each, bytes passed on as they come.

No keys, no ledger. A reference for the bench, run as `uvicorn tests.bench.references.tuned:app`.
"""

from __future__ import annotations

import itertools
import os
import ssl

import httpx

from tests.bench.references.asgi import Message, Receive, Send, body_of

UPSTREAM = os.environ["BENCH_UPSTREAM_URL"]
CA_FILE = os.environ.get("BENCH_CA_FILE")

POOLS = 8
PASSED = {b"content-type", b"content-length"}
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)

_verify = ssl.create_default_context(cafile=CA_FILE) if CA_FILE else False
_clients = itertools.cycle(
    httpx.AsyncClient(base_url=UPSTREAM, timeout=60, limits=LIMITS, verify=_verify, trust_env=False)
    for _ in range(POOLS)
)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    body = await body_of(receive)
    client = next(_clients)
    headers = [(b"authorization", b"Bearer upstream-key"), (b"content-type", b"application/json")]
    upward = client.build_request("POST", "/v1/openai/responses", content=body, headers=headers)
    answer = await client.send(upward, stream=True)
    try:
        kept = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() in PASSED]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        async for chunk in answer.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await answer.aclose()
