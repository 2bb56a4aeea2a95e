"""Which request is answered how: from the model, or a header, to a behaviour.

A model is `NAME`, or `NAME:SUFFIX…`. Suffixes: a number, where the behaviour takes one
(`sim/slow:2500` = 2,500 ms to the first byte); `both` and `beside`, which tell the charged cost in
streams too. Names outside `sim/` behave as an ordinary model of that name would.

A header (`request.SIMULATE_HEADER`) names a behaviour for any model, with or without `sim/`.
"""

from __future__ import annotations

import difflib
from dataclasses import replace

from app.simulator.behaviours import Behaviour, Streamed
from app.simulator.models import GROUPS

# Every name that misbehaves on request, in the order in which `irg simulate --list` shows them.
REGISTRY: dict[str, Behaviour] = {name: behaviour for rows in GROUPS.values() for name, behaviour in rows.items()}

ORDINARY = Behaviour(summary="an ordinary model", first_seconds=0.03, between_seconds=0.003)
_REASONING = replace(ORDINARY, reasoning=True)
_REASONING_FAMILIES = ("o1", "o3", "o4", "gpt-5", "deepseek-r1", "grok-4", "qwq")

_PREFIX = "sim/"
_PLACES = {"both": Streamed.RESPONSE, "beside": Streamed.EVENT}
_WHERE = "irg simulate --list shows them."


def behaviour_of(model: str) -> Behaviour:
    """Raises: `LookupError` with a sentence for a `sim/` name that does not exist."""
    name, *suffixes = model.split(":")
    if name.startswith(_PREFIX):
        return _listed(name, suffixes)
    behaviour = _REASONING if _reasons(name) else ORDINARY
    place = next((_PLACES[suffix] for suffix in suffixes if suffix in _PLACES), None)
    return behaviour.telling_charge_in_streams(place) if place else behaviour


def behaviour_by_header(value: str) -> Behaviour:
    """Raises: `LookupError` with a sentence for a name that does not exist."""
    name, *suffixes = value.strip().removeprefix(_PREFIX).split(":")
    return _listed(_PREFIX + name, suffixes)


def _listed(name: str, suffixes: list[str]) -> Behaviour:
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, n=1, cutoff=0.0)
        raise LookupError(f"The simulator has no model {name[:100]}; the nearest is {near[0]}. {_WHERE}")
    behaviour = REGISTRY[name]
    for suffix in suffixes:
        behaviour = _apply(behaviour, name, suffix)
    return behaviour


def _apply(behaviour: Behaviour, name: str, suffix: str) -> Behaviour:
    if suffix in _PLACES:
        return behaviour.telling_charge_in_streams(_PLACES[suffix])
    if not (suffix.isascii() and suffix.isdigit() and len(suffix) <= 7):
        raise LookupError(f"The simulator's {name} knows no suffix {suffix[:100]!r}; {_WHERE}")
    try:
        return behaviour.with_number(int(suffix))
    except ValueError as error:
        raise LookupError(f"The simulator's {name} {error}; {_WHERE}") from None


def _reasons(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_REASONING_FAMILIES)
