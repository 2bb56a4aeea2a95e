"""The usual proxy, as tutorials write it: FastAPI, a pydantic model, one `httpx.AsyncClient`, `StreamingResponse`.

No keys, no ledger, no care. A reference for the bench, run as `uvicorn tests.bench.references.naive:app`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.background import BackgroundTask

UPSTREAM = os.environ["BENCH_UPSTREAM_URL"]
CA_FILE = os.environ.get("BENCH_CA_FILE")


class Asked(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str
    input: Any
    stream: bool = False


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    verify = ssl.create_default_context(cafile=CA_FILE) if CA_FILE else True
    async with httpx.AsyncClient(base_url=UPSTREAM, timeout=60, verify=verify, trust_env=False) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/openai/responses")
async def responses(asked: Asked, request: Request) -> Response:
    client: httpx.AsyncClient = request.app.state.client
    headers = {"authorization": "Bearer upstream-key"}
    upward = client.build_request("POST", "/v1/openai/responses", json=asked.model_dump(), headers=headers)
    if not asked.stream:
        answer = await client.send(upward)
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])
    answer = await client.send(upward, stream=True)
    return StreamingResponse(
        answer.aiter_bytes(),
        answer.status_code,
        media_type="text/event-stream",
        background=BackgroundTask(answer.aclose),
    )
