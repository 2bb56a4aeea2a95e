"""Which model behaves how: from the name in a request to its behaviour.

A model is `NAME`, or `NAME:SUFFIX…`. Suffixes: a number, where the behaviour takes one
(`sim/slow:2500` = 2,500 ms to the first byte), and `both`, which tells the charged cost in
streams too. Names outside `sim/` behave as an ordinary model of that name would.
"""

from __future__ import annotations

from dataclasses import replace

from app.simulator.behaviours import Behaviour
from app.simulator.models import MODELS

# Every name that misbehaves on request, in the order in which `irg simulate --list` shows them.
REGISTRY: dict[str, Behaviour] = {**MODELS}

ORDINARY = Behaviour(summary="an ordinary model", first_seconds=0.03, between_seconds=0.003)
_REASONING = replace(ORDINARY, reasoning=True)
_REASONING_FAMILIES = ("o1", "o3", "o4", "gpt-5", "deepseek-r1", "grok-4", "qwq")


def behaviour_of(model: str) -> Behaviour:
    """Raises: `LookupError` with a sentence for a `sim/` name that does not exist."""
    name, *suffixes = model.split(":")
    if not name.startswith("sim/"):
        behaviour = _REASONING if _reasons(name) else ORDINARY
        return behaviour.telling_charge_in_streams() if "both" in suffixes else behaviour
    if name not in REGISTRY:
        raise LookupError(f"The simulator has no model {name}; irg simulate --list shows them.")
    behaviour = REGISTRY[name]
    for suffix in suffixes:
        behaviour = _apply(behaviour, name, suffix)
    return behaviour


def _apply(behaviour: Behaviour, name: str, suffix: str) -> Behaviour:
    if suffix == "both":
        return behaviour.telling_charge_in_streams()
    if not (suffix.isascii() and suffix.isdigit() and len(suffix) <= 7):
        raise LookupError(f"The simulator's {name} knows no suffix {suffix!r}; irg simulate --list shows them.")
    try:
        return behaviour.with_number(int(suffix))
    except ValueError:
        raise LookupError(f"The simulator's {name} takes no number; irg simulate --list shows those that do.") from None


def _reasons(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_REASONING_FAMILIES)
