"""`GET /v1/openai/models` and `/v1/models`: the models that the caller's key may use, in OpenAI's shape.

A key holder's page of the data plane, off the hot path: ordinary FastAPI routes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request

from app.accounts.catalog import Catalog, CatalogUnknown
from app.accounts.keyring import Keyring
from app.core.catalog import openai_list, openai_model
from app.core.errors import invalid_api_key, ledger_unavailable, model_not_found, models_unknown
from app.core.owners import KeyRecord
from app.store.port import LedgerUnavailable

PREFIXES = ("/v1/openai", "/v1")


def models_router(keyring: Keyring, catalog: Catalog) -> APIRouter:
    """Both routes at both prefixes."""

    async def holder(request: Request) -> KeyRecord:
        values = [value for name, value in request.scope["headers"] if name == b"authorization"]
        key = await keyring.holder(values[0]) if len(values) == 1 else None
        if key is None:
            raise invalid_api_key()
        return key

    async def list_models(request: Request) -> dict[str, Any]:
        """The models that this key may use. Bearer = a team key."""
        with _in_openai_words():
            key = await holder(request)
            return openai_list(await catalog.models(key.models))

    async def show_model(request: Request, model: str) -> dict[str, Any]:
        """One model, if this key may use it. Bearer = a team key."""
        with _in_openai_words():
            key = await holder(request)
            found = {known.id: known for known in await catalog.models(key.models)}
        if model not in found:
            raise model_not_found(model, found)
        return openai_model(found[model])

    router = APIRouter(tags=["data plane"])
    for prefix in PREFIXES:
        router.add_api_route(f"{prefix}/models", list_models, name=f"models at {prefix}")
        router.add_api_route(f"{prefix}/models/{{model:path}}", show_model, name=f"model at {prefix}")
    return router


@contextmanager
def _in_openai_words() -> Iterator[None]:
    """Turns what the accounts raise into the data plane's errors."""
    try:
        yield
    except LedgerUnavailable:
        raise ledger_unavailable() from None
    except CatalogUnknown as error:
        raise models_unknown(str(error)) from None
