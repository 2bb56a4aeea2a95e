"""What tokens cost: USD per token and model, exact decimals. Invented, in the order of real prices."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from app.simulator.amounts import EXACT


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token; cached input is counted apart from the rest of the input."""

    prompt: Decimal
    cached: Decimal
    completion: Decimal

    def cost(self, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> Decimal:
        """The true cost in USD, exact."""
        fresh = EXACT.multiply(self.prompt, Decimal(input_tokens - cached_tokens))
        cached = EXACT.multiply(self.cached, Decimal(cached_tokens))
        output = EXACT.multiply(self.completion, Decimal(output_tokens))
        return EXACT.add(EXACT.add(fresh, cached), output)


def _per_million(prompt: str, cached: str, completion: str) -> Price:
    return Price(*(Decimal(usd).scaleb(-6, context=EXACT) for usd in (prompt, cached, completion)))


PRICES: dict[str, Price] = {
    "openai/gpt-4o-mini": _per_million("0.15", "0.075", "0.6"),
    "openai/gpt-4o": _per_million("2.5", "1.25", "10"),
    "openai/gpt-5": _per_million("1.25", "0.125", "10"),
    "openai/gpt-5-mini": _per_million("0.25", "0.025", "2"),
    "openai/o4-mini": _per_million("1.1", "0.275", "4.4"),
    "anthropic/claude-sonnet-4.5": _per_million("3", "0.3", "15"),
    "anthropic/claude-haiku-4.5": _per_million("1", "0.1", "5"),
    "google/gemini-2.5-flash": _per_million("0.3", "0.03", "2.5"),
    "deepseek/deepseek-r1": _per_million("0.55", "0.14", "2.19"),
    "mistralai/mistral-small": _per_million("0.1", "0.1", "0.3"),
}

DEFAULT_PRICE = _per_million("0.35", "0.035", "1.05")


def price_of(model: str) -> Price:
    """By the name without its suffixes; every other model costs the same."""
    return PRICES.get(model.partition(":")[0], DEFAULT_PRICE)
