"""What a model's tokens cost, found in an entry of the upstream's list, whatever it calls them there.

Documented is that prices of text are USD per token; their names are not. Read are `prompt` or
`input` and `completion` or `output`, alone or as in `input_tokens`, `prompt_price`,
`outputCostPerToken`, under `pricing` and its like or in the entry itself; values are decimal text, JSON
numbers, or objects that hold one. Prices per anything else (a million tokens, a request, a second) are
no prices here. Called by `catalog`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.money import BadCost, parse_price
from app.core.records import Prices

# Where an entry keeps its prices, and where those keep the prices of text.
_PLACES = ("pricing", "prices", "price", "costs", "cost")
_INNER_PLACES = ("value", "text", "tokens", "per_token")

# Where a price that is an object keeps its amount; of a range, the most.
_AMOUNTS = ("value", "usd", "amount", "price", "max")

# A unit that is told must be one of these, letters alone.
_UNIT_NAMES = ("unit", "per")
_UNITS = ("token", "tokens", "pertoken", "usdpertoken", "usd")

_NO_LETTERS = re.compile(r"[^a-z]+")
_NAME = r"(?:tokens?)?(?:price|cost|usd)?(?:pertoken)?"
_PROMPT = re.compile(rf"(?:prompt|input){_NAME}")
_COMPLETION = re.compile(rf"(?:completion|output){_NAME}")


def read_prices(entry: Mapping[str, Any]) -> Prices | None:
    """The prices of one model; None unless both are told, and both can be true.

    Numbers that are no integers come as text (`document.Number`), so that none is ever a float.
    """
    for place in _places(entry):
        prompt, completion = _price(place, _PROMPT), _price(place, _COMPLETION)
        if prompt is not None and completion is not None:
            return Prices(prompt, completion)
    return None


def _places(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in _PLACES:
        place = entry.get(name)
        if isinstance(place, dict):
            yield place
            yield from (place[inner] for inner in _INNER_PLACES if isinstance(place.get(inner), dict))
    yield entry


def _price(place: Mapping[str, Any], called: re.Pattern[str]) -> int | None:
    """The first price so called, in 10⁻¹² USD a token."""
    for name, value in place.items():
        if called.fullmatch(_letters(name)) and _per_token(place):
            price = _amount(value)
            if price is not None:
                return price
    return None


def _amount(value: Any) -> int | None:
    if isinstance(value, dict):
        if not _per_token(value):
            return None
        value = next((value[name] for name in _AMOUNTS if value.get(name) is not None), None)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        return parse_price(str(value).strip())
    except BadCost:
        return None


def _per_token(place: Mapping[str, Any]) -> bool:
    told = [place[name] for name in _UNIT_NAMES if place.get(name) is not None]
    return all(_letters(str(unit)) in _UNITS for unit in told)


def _letters(text: str) -> str:
    return _NO_LETTERS.sub("", text.lower())
