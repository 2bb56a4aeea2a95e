"""The response object: the envelope around the output, complete enough for clients that validate it.

Field names and defaults: OpenAI's Responses API as its SDKs of November 2026 read it; `cost`
and `usage.cost`: ImageRouter's page, February 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.simulator.amounts import charge_for, plain
from app.simulator.behaviours import Behaviour, Costs, Failing, Streamed, Telling, Told
from app.simulator.generation import Generation
from app.simulator.jsontext import Number, Twice
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

# No reader may take them for the response's own.
_DECOYS: dict[str, Any] = {
    "details": {"usage": {"cost": Number("0"), "input_tokens": 0}, "cost": Number("0")},
    "billing": [{"usage": {"cost": Number("0")}}],
}

_FAILURE = {"code": "server_error", "message": "The model failed to generate a response."}


@dataclass(frozen=True, slots=True)
class Priced:
    """The two costs of one generation in USD, exact: what the bill says."""

    true_cost: Decimal
    charged: Decimal


NOTHING = Priced(Decimal(0), Decimal(0))


def price(generation: Generation, asked: Asked, costs: Costs) -> Priced:
    tokens = generation.tokens
    true_cost = costs.amount
    if true_cost is None:
        true_cost = price_of(asked.model).cost(
            input_tokens=tokens.input, cached_tokens=tokens.cached, output_tokens=tokens.output
        )
    charged = costs.charged_amount
    return Priced(true_cost, charge_for(true_cost) if charged is None else charged)


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
        "usage": None if behaviour.failing is Failing.WITHOUT_USAGE else usage(generation, behaviour, priced),
    }
    if generation.status == "completed":
        changes["completed_at"] = completed_at
    elif generation.status == "incomplete":
        reason = "content_filter" if generation.filtered else "max_output_tokens"
        changes["incomplete_details"] = {"reason": reason}
    else:
        changes["error"] = _FAILURE
    if behaviour.decoy_fields:
        changes |= _DECOYS
        changes["output"] = [item | _DECOYS for item in changes["output"]]
    if behaviour.failing is not Failing.WITHOUT_USAGE and (not stream or behaviour.costs.streamed is Streamed.RESPONSE):
        changes |= charge(behaviour, priced)
    return start | changes


def beside(behaviour: Behaviour, priced: Priced) -> dict[str, Any]:
    """What stands beside the response in a terminal event."""
    return charge(behaviour, priced) if behaviour.costs.streamed is Streamed.EVENT else {}


def charge(behaviour: Behaviour, priced: Priced) -> dict[str, Any]:
    return _stated("cost", behaviour.costs.charged, priced.charged)


def usage(generation: Generation, behaviour: Behaviour, priced: Priced) -> dict[str, Any]:
    tokens = generation.tokens
    members: dict[str, Any] = {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
        **_stated("cost", behaviour.costs.true_cost, priced.true_cost),
    }
    if behaviour.extra_usage:
        members |= {"is_byok": False, "cost_details": {"cost": Number("9.99"), "upstream_inference_cost": None}}
    return members


def _stated(name: str, told: Told, amount: Decimal) -> dict[str, Number | Twice]:
    if told is Telling.LEFT_OUT:
        return {}
    if told is Telling.TWICE:
        return {name: Twice(Number(plain(amount)), Number("0"))}
    return {name: Number(told if isinstance(told, str) else plain(amount))}
