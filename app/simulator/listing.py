"""`GET /v3/models`: the models with their prices, filtered as asked, in each shape that an upstream may give them.

Documented is a bare array; the names of prices are inferred. Nobody knows what the upstream will
do next, so `shape` chooses among what lists of models look like elsewhere, and how they fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from app.simulator.amounts import plain
from app.simulator.errors import ErrorAnswer, error_answer, invalid
from app.simulator.jsontext import Number, write
from app.simulator.prices import PRICES, price_of
from app.simulator.registry import REGISTRY, behaviour_of

Model = dict[str, Any]
Query = Mapping[str, str]

# What makes pictures and films costs a fixed amount for each, as some `sim/` models do.
_MADE = {
    "test/test": ("image", "0"),
    "openai/gpt-image-1": ("image", "0.042"),
    "black-forest-labs/flux-1-schnell": ("image", "0.0013"),
    "ir/test-video": ("video", "0"),
    "google/veo-3": ("video", "3.2"),
}


def models_answer(query: Query, shape: str) -> ErrorAnswer:
    """The whole answer. `shape`: one of `SHAPES`. Raises: `RefusedError` (400)."""
    shape = query.get("shape", shape)
    if shape in _FAILURES:
        return _FAILURES[shape]
    if shape not in _SHAPES:
        raise invalid(f"There is no shape {shape[:100]}: {', '.join(SHAPES)}.", "shape")
    body = write(_SHAPES[shape](_chosen(query)))
    return ErrorAnswer(200, body[:-20] if shape == "broken" else body)


def made_models(*, keyed: bool) -> bytes:
    """`GET /v1/models` (an object by id) and `/v2/models` (an array): pictures and films only."""
    models = [_made(name) for name in sorted(_MADE)]
    return write(_by_id(models) if keyed else models)


def _chosen(query: Query) -> list[Model]:
    models = [model for model in _all() if _matches(model, query)]
    if query.get("sort") in ("name", "id"):
        models.sort(key=lambda model: str(model["id"]))
    elif query.get("sort") == "price":
        models.sort(key=lambda model: Decimal(model["pricing"].get("prompt", model["pricing"].get("value"))))
    limit = query.get("limit", "")
    models = models[: int(limit)] if limit.isascii() and limit.isdigit() else models
    if fields := query.get("fields"):
        wanted = set(fields.split(","))
        models = [{name: value for name, value in model.items() if name in wanted} for model in models]
    return models


def _matches(model: Model, query: Query) -> bool:
    modality, name, provider = (query.get(field) for field in ("output_modalities", "name", "provider"))
    return (
        (modality is None or modality in model["architecture"]["output_modalities"])
        and (name is None or name.lower() in model["id"].lower())
        and (provider is None or provider == model["providers"][0]["id"])
        and (query.get("free") != "true" or {*model["pricing"].values()} <= {"0", "fixed"})
    )


def _all() -> Iterable[Model]:
    return [*(_text(name) for name in sorted({*PRICES, *REGISTRY})), *(_made(name) for name in sorted(_MADE))]


def _text(name: str) -> Model:
    return {
        "id": name,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": _pricing(name),
        "providers": [{"id": name.partition("/")[0]}],
    }


def _pricing(name: str) -> Model:
    """What its answers are billed by: tokens, or an amount that is the same for all of them."""
    amount, price = behaviour_of(name).costs.amount, price_of(name)
    if amount is not None:
        return {"type": "fixed", "value": plain(amount)}
    return {"prompt": plain(price.prompt), "completion": plain(price.completion)}


def _made(name: str) -> Model:
    modality, price = _MADE[name]
    return {
        "id": name,
        "architecture": {"input_modalities": ["text"], "output_modalities": [modality]},
        "pricing": {"type": "fixed", "value": price},
        "providers": [{"id": name.partition("/")[0]}],
    }


def _by_id(models: list[Model]) -> Model:
    return {str(model.get("id", number)): model for number, model in enumerate(models)}


def _repriced(models: list[Model], change: Callable[[Model], Any]) -> list[Model]:
    return [model | {"pricing": change(model["pricing"])} if "pricing" in model else model for model in models]


def _as_numbers(pricing: Model) -> Model:
    return {name: value if name == "type" else Number(value) for name, value in pricing.items()}


def _as_input_and_output(pricing: Model) -> Model:
    names = {"prompt": "input", "completion": "output"}
    return {names.get(name, name): value for name, value in pricing.items()}


_SHAPES: dict[str, Callable[[list[Model]], Any]] = {
    "array": lambda models: models,
    "list": lambda models: {"object": "list", "data": [{"object": "model", **model} for model in models]},
    "models": lambda models: {"models": models},
    "keyed": _by_id,
    "names": lambda models: [model.get("id") for model in models],
    "numbers": lambda models: _repriced(models, _as_numbers),
    "input-output": lambda models: _repriced(models, _as_input_and_output),
    "null-prices": lambda models: _repriced(models, lambda _: None),
    "unpriced": lambda models: [{name: value for name, value in m.items() if name != "pricing"} for m in models],
    "odd": lambda models: [None, 7, {}, {"id": 5}, {"id": ""}, *models],
    "empty": lambda models: [],
    "broken": lambda models: models,
}

_FAILURES = {
    "error": error_answer(500, "internal_error", "Something went wrong."),
    "html": ErrorAnswer(502, b"<html><body><h1>Bad Gateway</h1></body></html>", "text/html"),
    "text": ErrorAnswer(200, b"maintenance", "text/plain"),
}

SHAPES = (*_SHAPES, *_FAILURES)
