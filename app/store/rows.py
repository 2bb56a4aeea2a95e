"""How records become rows: cleaned text, bounded integers, lists as text.

What comes from outside (model names, ids, token counts) must never make a row impossible to
write: text is shortened and made visible, a count that is none is left out.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import replace

from app.core.clock import to_ms
from app.core.ids import id_time
from app.core.records import Admitted, Intent, Refused, Settlement

TEXT_CHARACTERS_MAX = 512

# No answer has more tokens; sums of such counts stay far from 64 bits.
TOKENS_MAX = 10**12


def intent_row(intent: Intent, key: tuple[str, str | None, str], admitted: Admitted, instance: str) -> list[object]:
    """In the order of `statements.INTENT_COLUMNS`. `key`: id, team id, tags as text. The id carries the time."""
    return [
        intent.request_id,
        to_ms(id_time(intent.request_id)),
        *key,
        storable(intent.model),
        int(intent.stream),
        intent.sdk_retry,
        admitted.hold_picodollars,
        instance,
        admitted.tokens_held,
    ]


def settlement_row(settlement: Settlement) -> list[object]:
    """The id, then `statements.SETTLEMENT_COLUMNS` without the last two (when and in which order it was closed)."""
    reading, tokens = settlement.reading, settlement.reading.usage
    true, charged = reading.true_cost, reading.charged
    return [
        settlement.request_id,
        settlement.state,
        settlement.outcome,
        settlement.status,
        true.picodollars if true else None,
        storable(true.raw if true else reading.true_cost_token),
        charged.picodollars if charged else None,
        storable(charged.raw if charged and not reading.charged_derived else reading.charged_token),
        int(reading.charged_derived),
        int(reading.charge_mismatch),
        storable(settlement.unknown_reason),
        count(tokens.input_tokens),
        count(tokens.cached_tokens),
        count(tokens.output_tokens),
        count(tokens.reasoning_tokens),
        count(tokens.total_tokens),
        storable(reading.model_answered),
        storable(reading.response_id),
        storable(settlement.upstream_request_id),
        settlement.ttfb_ms,
        settlement.duration_ms,
    ]


def usage_sums(settlement: Settlement) -> tuple[int, ...]:
    """What one closed request adds to its roll-up, in the order of `schema.USAGE_SUMS`."""
    reading, tokens = settlement.reading, settlement.reading.usage
    billed = settlement.state != "free"
    return (
        1,
        reading.true_cost.picodollars if reading.true_cost else 0,
        reading.charged.picodollars if reading.charged else 0,
        int(reading.true_cost is None and billed),
        int(reading.charged is None and billed),
        count(tokens.input_tokens) or 0,
        count(tokens.cached_tokens) or 0,
        count(tokens.output_tokens) or 0,
        count(tokens.reasoning_tokens) or 0,
        count(tokens.total_tokens) or 0,
    )


def owner_row(settlement: Settlement, key_id: str) -> list[object] | None:
    """Whose response it is; None without an id, or with one that could not be kept as it is."""
    response_id = settlement.reading.response_id
    return [response_id, key_id] if response_id and storable(response_id) == response_id else None


def storable(text: str | None) -> str | None:
    """Shortened, and with a mark in place of what cannot be seen (or is no Unicode text at all)."""
    if text is None or (len(text) <= TEXT_CHARACTERS_MAX and text.isprintable()):
        return text
    cut = text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)


def storable_settlement(settlement: Settlement) -> Settlement:
    """The same with storable text: it can be encoded whatever the upstream wrote."""
    reading = settlement.reading
    return replace(
        settlement,
        unknown_reason=storable(settlement.unknown_reason),
        upstream_request_id=storable(settlement.upstream_request_id),
        reading=replace(
            reading,
            true_cost_token=storable(reading.true_cost_token),
            charged_token=storable(reading.charged_token),
            unknown_reason=storable(reading.unknown_reason),
            response_id=storable(reading.response_id),
            model_answered=storable(reading.model_answered),
        ),
    )


def count(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 <= tokens <= TOKENS_MAX else None


def list_text(values: Iterable[str]) -> str:
    """How a list is kept: sorted, so that equal sets are equal text."""
    return json.dumps(sorted(set(values)), ensure_ascii=False, separators=(",", ":"))


@functools.lru_cache(maxsize=4096)
def text_list(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def refusal_row(intent: Intent, refused: Refused, at_ms: int) -> list[object]:
    """In the order of `limit_statements`. The facts are what was told to the client."""
    return [
        intent.request_id,
        at_ms,
        intent.key_id,
        storable(intent.model),
        int(intent.stream),
        intent.sdk_retry,
        refused.reason,
        _facts(refused),
    ]


def _facts(refused: Refused) -> str:
    facts: dict[str, object] = {}
    if refused.reference is not None:
        facts["reference"] = storable(refused.reference)
    if (hit := refused.hit) is not None:
        facts |= {"scope": hit.scope, "owner": hit.owner, "limit": hit.limit, "period": hit.period}
        facts |= {
            "limit_picodollars": hit.limit_picodollars,
            "spent_picodollars": hit.spent_picodollars,
            "held_picodollars": hit.held_picodollars,
            "hold_picodollars": hit.hold_picodollars,
            "resets_at": None if hit.resets_at is None else to_ms(hit.resets_at),
        }
    return json.dumps({name: value for name, value in facts.items() if value is not None})
