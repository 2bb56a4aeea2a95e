"""How records become rows: cleaned text, bounded integers, lists as text.

What comes from outside (model names, ids, token counts) must never make a row impossible to
write: text is shortened and made visible, a count that is none is left out.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from app.core.clock import to_ms
from app.core.ids import looks_like_id
from app.core.money import SUM_MAX
from app.core.records import Intent, Refused, Settlement
from app.core.value import replace

TEXT_CHARACTERS_MAX = 512

_SHA256 = hashlib.sha256()

# No answer has more tokens; sums of such counts stay far from 64 bits.
TOKENS_MAX = 10**12


# Places in a `settlement_row`.
_STATE, _TRUE_COST, _CHARGED, _TOKENS = 1, 4, 6, slice(11, 16)


def settlement_row(settlement: Settlement, *closed: int) -> list[Any]:
    """The id, then `statements.SETTLEMENT_COLUMNS`. `closed`: the last of these (when, in which order, what is kept).

    Enumerations are made plain text: for any other type than its own the driver looks for an adapter first.
    """
    reading, tokens = settlement.reading, settlement.reading.usage
    true, charged = reading.true_cost, reading.charged
    return [
        settlement.request_id,
        str(settlement.state),
        str(settlement.outcome),
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
        *closed,
    ]


def usage_sums(row: Sequence[Any]) -> tuple[int, ...]:
    """What a `settlement_row` adds to its roll-up, in the order of `schema.USAGE_SUMS`."""
    true, charged, billed = row[_TRUE_COST], row[_CHARGED], row[_STATE] != "free"
    return (
        1,
        true or 0,
        charged or 0,
        int(true is None and billed),
        int(charged is None and billed),
        *[tokens or 0 for tokens in row[_TOKENS]],
    )


def bounded_sums(total: tuple[int, ...]) -> tuple[int, ...]:
    """Such sums as they may be written: of money no more than 64 bits hold."""
    requests, true_cost, charged, *counts = total
    return (requests, min(SUM_MAX, true_cost), min(SUM_MAX, charged), *counts)


def made_ids(settlement: Settlement) -> tuple[str, ...]:
    """What a request made: an answer that is an error made nothing."""
    reading = settlement.reading
    if settlement.status is None or not 200 <= settlement.status < 300 or reading.error_body:
        return ()
    return reading.made if reading.response_id is None else (reading.response_id, *reading.made)


def id_hash(text: str) -> int:
    """What stands for an id: 64 bits of its SHA-256. Two ids that share them would belong to nobody."""
    digest = _SHA256.copy()  # a new one would have OpenSSL look for the function by its name, each time
    digest.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:8], "big", signed=True)


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
            made=tuple(one for one in reading.made if storable(one) == one),
            model_answered=storable(reading.model_answered),
        ),
    )


def count(tokens: int | None) -> int | None:
    return tokens if tokens is None or 0 <= tokens <= TOKENS_MAX else None


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
        str(refused.reason),
        _facts(refused),
    ]


def _facts(refused: Refused) -> str:
    facts: dict[str, object] = {}
    if refused.reference is not None:
        # Whatever else stands in an id's place may be text of the client's, which is never stored.
        facts["reference"] = refused.reference if looks_like_id(refused.reference) else None
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
