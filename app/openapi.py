"""/openapi.json: made once, and what it says beyond what FastAPI finds out: the hot route, every refusal's shape."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from app.admin.schemas import ErrorShape
from app.proxy.endpoint import PATHS

SCHEMAS = "#/components/schemas/{model}"

RESPONSES_OPERATION: dict[str, Any] = {
    "tags": ["data plane"],
    "summary": "Create a response (OpenAI Responses API), as JSON or as an event stream",
    "description": "Bearer = a team key. The body and the answer cross unchanged.",
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model"],
                    "properties": {"model": {"type": "string"}, "stream": {"type": ["boolean", "null"]}},
                    "additionalProperties": True,
                }
            }
        },
    },
    "responses": {
        "200": {
            "description": "The upstream's answer",
            "content": {"application/json": {}, "text/event-stream": {}},
        },
        "default": {"description": "An error in OpenAI's shape", "content": {"application/json": {}}},
    },
}


PATH = "/openapi.json"


def describe(app: FastAPI) -> None:
    """Completes the document of an application and serves it; it is made when first asked for."""
    made = app.openapi

    @functools.cache
    def openapi() -> dict[str, Any]:
        document = made()
        paths = document.setdefault("paths", {})
        paths |= {path.decode(): {"post": RESPONSES_OPERATION} for path in sorted(PATHS)}
        document.setdefault("components", {}).setdefault("schemas", {}).update(error_schemas())
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route(PATH, Document(app).answer, methods=["GET"], include_in_schema=False)


class Document:
    """The document as bytes. To make it takes half a second, which is spent beside the event loop, and once."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._making = asyncio.Lock()
        self._content: bytes | None = None

    async def answer(self, request: Request) -> Response:
        async with self._making:
            if self._content is None:
                self._content = await asyncio.to_thread(self._made)
        return Response(self._content, media_type="application/json")

    def _made(self) -> bytes:
        return json.dumps(self._app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()


def error_schemas() -> dict[str, Any]:
    """The schema that `admin.api.REFUSALS` points to, and what it is made of."""
    schema = ErrorShape.model_json_schema(ref_template=SCHEMAS)
    parts = schema.pop("$defs")
    return {ErrorShape.__name__: schema, **parts}
