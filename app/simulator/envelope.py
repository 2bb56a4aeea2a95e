"""The response object: the envelope around the output, complete enough for clients that validate it.

Field names and defaults: OpenAI's Responses API as its SDKs of November 2026 read it; `cost`
and `usage.cost`: ImageRouter's page, February 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.simulator.amounts import charge_for, plain
from app.simulator.behaviours import Behaviour, Costs, Telling, Told
from app.simulator.generation import Generation
from app.simulator.jsontext import Number
from app.simulator.prices import price_of
from app.simulator.request import Asked

# Echoed from the request when it has them, else as OpenAI fills them in.
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "truncation": "disabled",
    "user": None,
}

_FAILURE = {"code": "server_error", "message": "The model failed to generate a response."}


@dataclass(frozen=True, slots=True)
class Priced:
    """The two costs of one generation in USD, exact: what the bill says."""

    true_cost: Decimal
    charged: Decimal


def price(generation: Generation, asked: Asked, costs: Costs) -> Priced:
    tokens = generation.tokens
    true_cost = costs.amount
    if true_cost is None:
        true_cost = price_of(asked.model).cost(
            input_tokens=tokens.input, cached_tokens=tokens.cached, output_tokens=tokens.output
        )
    return Priced(true_cost, charge_for(true_cost))


def told_costs(behaviour: Behaviour, *, stream: bool, whole: bool) -> tuple[str, ...]:
    """Which costs the answer states so that they can be counted; `whole` = it is told to its end."""
    costs = behaviour.costs
    stated = (
        ("true_cost", costs.true_cost, True),
        ("charged", costs.charged, tells_charged(behaviour, stream=stream)),
    )
    return tuple(name for name, told, there in stated if whole and there and _usable(told))


def tells_charged(behaviour: Behaviour, *, stream: bool) -> bool:
    """Bodies always have the top-level `cost`; for streams nobody knows, so it can be switched."""
    return not stream or behaviour.costs.charged_in_stream


def begun(asked: Asked, response_id: str, created_at: int) -> dict[str, Any]:
    """The response at its start, as `response.created` shows it."""
    echoed = {
        name: asked.fields[name] if asked.fields.get(name) is not None else default for name, default in _ECHOED.items()
    }
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": asked.model,
        "output": [],
        **echoed,
        "usage": None,
    }


def ended(
    start: dict[str, Any],
    generation: Generation,
    behaviour: Behaviour,
    priced: Priced,
    *,
    stream: bool,
    completed_at: int,
) -> dict[str, Any]:
    """The response at its end."""
    changes: dict[str, Any] = {
        "status": generation.status,
        "output": list(generation.items),
        "usage": _usage(generation, behaviour, priced),
    }
    if generation.status == "completed":
        changes["completed_at"] = completed_at
    elif generation.status == "incomplete":
        changes["incomplete_details"] = {"reason": "max_output_tokens"}
    else:
        changes["error"] = _FAILURE
    if tells_charged(behaviour, stream=stream):
        changes |= _stated("cost", behaviour.costs.charged, priced.charged)
    return start | changes


def _usage(generation: Generation, behaviour: Behaviour, priced: Priced) -> dict[str, Any]:
    tokens = generation.tokens
    usage: dict[str, Any] = {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
        **_stated("cost", behaviour.costs.true_cost, priced.true_cost),
    }
    if behaviour.extra_usage:
        usage |= {"is_byok": False, "cost_details": {"cost": Number("9.99"), "upstream_inference_cost": None}}
    return usage


def _stated(name: str, told: Told, amount: Decimal) -> dict[str, Number]:
    if told is Telling.LEFT_OUT:
        return {}
    return {name: Number(told if isinstance(told, str) else plain(amount))}


def _usable(told: Told) -> bool:
    if isinstance(told, Telling):
        return told is Telling.AS_BILLED
    return told[:1].isdigit()
