"""The upstream's list of models, read from whatever shape it has and written in OpenAI's.

Lives here: reading, filtering, writing. Known shapes: an array, the same under `data` or
`models`, an object keyed by id; entries are objects with an `id`, or the ids themselves.
Prices are in `prices`. Fetching and keeping the list is `accounts.catalog`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.core.document import Number
from app.core.patterns import model_allowed
from app.core.prices import read_prices
from app.core.records import Prices
from app.core.value import Value, plain

ID_CHARACTERS_MAX = 200
_LISTS = ("data", "models")
_TIME_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z


class Model(Value, frozen=True):
    id: str
    created: int  # seconds since 1970; 0 = the upstream does not say
    owned_by: str
    prices: Prices | None = None  # None = not told, or not so that they could be true


def read_catalog(document: bytes) -> tuple[Model, ...]:
    """The models that answer with text, in the upstream's order, each once.

    Entries that say what they put out, and do not name text, are left out; so are entries without a usable id.
    Raises: `ValueError` when this is no list of models, or one without any.
    """
    try:
        content = json.loads(document, parse_float=Number)
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise ValueError("the list of models is not JSON") from None
    if isinstance(content, dict) and content.get("error") is not None:
        raise ValueError("the list of models is an error")
    found: dict[str, Model] = {}
    for model_id, entry in _entries(content):
        if _usable(model_id) and _puts_out_text(entry):
            found.setdefault(model_id, _model(model_id, entry))
    if not found:
        raise ValueError("the list of models holds none that answers with text")
    return tuple(found.values())


def allowed_models(models: Iterable[Model], patterns: Iterable[str]) -> tuple[Model, ...]:
    """What a key with these patterns may use; no pattern = everything."""
    allowed = tuple(patterns)
    return tuple(model for model in models if model_allowed(model.id, allowed))


def openai_model(model: Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def openai_list(models: Iterable[Model]) -> dict[str, Any]:
    """`GET /models` as OpenAI's SDKs read it."""
    return {"object": "list", "data": [openai_model(model) for model in models]}


def dump(models: Iterable[Model]) -> str:
    """For the database; `load` reads it."""
    return json.dumps([plain(model) for model in models])


def load(text: str) -> tuple[Model, ...]:
    """The models of what `dump` wrote; earlier versions wrote no prices.

    Raises: `ValueError`, `TypeError`, `KeyError` when it wrote something else.
    """
    return tuple(_loaded(entry) for entry in json.loads(text))


def _loaded(entry: Any) -> Model:
    if not isinstance(entry, dict):
        raise TypeError("an entry of the kept list is none")
    prices = entry.get("prices")
    priced = None if prices is None else Prices(**prices)
    return Model(entry["id"], entry["created"], entry["owned_by"], priced)


def _model(model_id: str, entry: Mapping[str, Any]) -> Model:
    return Model(model_id, _created(entry), _owner(model_id, entry), read_prices(entry))


def _entries(content: Any) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Pairs of id and entry, whatever the shape."""
    if isinstance(content, dict):
        content = next((content[name] for name in _LISTS if isinstance(content.get(name), list | dict)), content)
    if isinstance(content, dict):
        for key, entry in content.items():
            if isinstance(entry, dict) and key not in _LISTS:
                yield entry.get("id", key), entry
    elif isinstance(content, list):
        for entry in content:
            yield (entry.get("id"), entry) if isinstance(entry, dict) else (entry, {})


def _usable(model_id: Any) -> bool:
    return type(model_id) is str and 0 < len(model_id) <= ID_CHARACTERS_MAX and model_id.isprintable()


def _puts_out_text(entry: Mapping[str, Any]) -> bool:
    architecture = entry.get("architecture")
    said = architecture if isinstance(architecture, dict) else entry
    modalities = said.get("output_modalities")
    return "text" in modalities if isinstance(modalities, list) else True


def _created(entry: Mapping[str, Any]) -> int:
    created = entry.get("created")
    return created if type(created) is int and 0 <= created <= _TIME_MAX else 0


def _owner(model_id: str, entry: Mapping[str, Any]) -> str:
    owner = entry.get("owned_by")
    if type(owner) is str and owner.isprintable():
        return owner
    maker, slash, _ = model_id.partition("/")
    return maker if slash else ""
