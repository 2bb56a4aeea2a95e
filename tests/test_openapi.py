"""/openapi.json: whole, made once, and never in everybody's way."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import FastAPI

from app.proxy.endpoint import PATHS
from tests.harness import GatewayUnderTest


@pytest.mark.parametrize("front", ["on"], indirect=True)
async def test_the_document_is_made_once_and_beside_the_loop(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To make it takes half a second, for which only who asked waits; strangers may ask as often as they like."""
    app: FastAPI = gateway.ready.gateway.fastapi
    made, threads = app.openapi, list[bool]()

    def openapi() -> object:
        try:
            asyncio.get_running_loop()
            threads.append(False)
        except RuntimeError:
            threads.append(True)
        return made()

    monkeypatch.setattr(app, "openapi", openapi)

    async def asked() -> bytes:
        async with gateway.post(b"", method="GET", path="/openapi.json") as reply:
            assert (reply.status, reply.header("content-type")) == (200, "application/json")
            return await reply.body()

    answers = await asyncio.gather(*(asked() for _ in range(8)))
    assert threads == [True]
    assert len(set(answers)) == 1
    document = json.loads(answers[0])
    assert {path.decode() for path in PATHS} < document["paths"].keys()
    assert {"/admin/v1/usage", "/v1/me/usage", "/healthz"} < document["paths"].keys()
    schemas = document["components"]["schemas"]
    assert {"ErrorShape", "UsageShape", "RequestPage", "RefusalPage"} < schemas.keys()
    of_usage = document["paths"]["/v1/me/usage"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert of_usage == {"$ref": "#/components/schemas/UsageShape"}
