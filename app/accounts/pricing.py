"""What is known of a request's cost before it runs: its model's prices, the operator's ceiling, the default.

Lives here: putting that together for an intent, and when prices are worth asking the upstream
for. How much is held is decided in `core.holds`, the list is `catalog`'s. On the hot path: nothing here
waits. Called by the data plane.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from app.accounts.catalog import Catalog
from app.core.patterns import model_allowed
from app.core.records import Admitted, Asked, Intent, Refused

# Prices change seldom; a hold of older ones is still a good guess, but they are asked for anew.
PRICES_AGE_MAX = timedelta(hours=1)

# Ceilings that were looked up are kept by model: its name is the client's to choose.
CACHED_MODELS_MAX = 1000


class Pricing:
    """`ceilings`: globs and amounts in 10⁻¹² USD, of which the first that matches a model counts."""

    def __init__(
        self, catalog: Catalog, *, ceilings: Iterable[tuple[str, int]] = (), default_picodollars: int = 0
    ) -> None:
        self._catalog = catalog
        self._ceilings = tuple(ceilings)
        self._default_picodollars = default_picodollars
        self._known: dict[str, int | None] = {}

    def asked(self, model: str, *, prompt_tokens: int, max_output_tokens: int | None) -> Asked:
        """What bounds a request's cost, from memory alone: microseconds, and it never raises."""
        return Asked(
            prompt_tokens,
            max_output_tokens,
            self._catalog.price_of(model),
            self._ceiling(model) if self._ceilings else None,
            self._default_picodollars,
        )

    def needed(self, intent: Intent, verdict: Admitted | Refused) -> None:
        """Has absent or old prices renewed in the background, if something was to be held for this request.

        A request that no budget applies to never makes the gateway call the upstream; one that was refused
        because of what was to be held does, so that the next is judged by a better guess.
        """
        if _hold(verdict):
            self._catalog.renew_soon(PRICES_AGE_MAX if intent.asked.prices is not None else timedelta(0))

    def _ceiling(self, model: str) -> int | None:
        try:
            return self._known[model]
        except KeyError:
            pass
        found = next((amount for pattern, amount in self._ceilings if model_allowed(model, [pattern])), None)
        if len(self._known) >= CACHED_MODELS_MAX:
            self._known.clear()
        self._known[model] = found
        return found


def _hold(verdict: Admitted | Refused) -> int:
    """What was set aside, or would have been, in 10⁻¹² USD; 0 where no budget applies."""
    if isinstance(verdict, Admitted):
        return verdict.hold_picodollars
    return (verdict.hit.hold_picodollars or 0) if verdict.hit is not None else 0
