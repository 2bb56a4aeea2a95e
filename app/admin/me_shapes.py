"""The shape of `/v1/me`: a key as everywhere, with everything that can refuse it. The rules are `schemas.py`'s."""

from __future__ import annotations

from pydantic import Field

from app.admin.schemas import BudgetShape, KeyShape, Shape, Time, budget_shapes, key_shape
from app.core.bounds import BoundLimit, KeyStanding
from app.core.clock import format_time
from app.core.records import RefusalReason, Scope


class _OfScope(Shape):
    scope: Scope = Field(description="Whose it is: the key's own, its team's, or the whole gateway's")


# The scope stands first in JSON: pydantic collects fields from the last base on.
class BoundBudgetShape(BudgetShape, _OfScope):
    pass


class AllowanceShape(_OfScope):
    """What a limit leaves right now."""

    kind: RefusalReason = Field(description="The reason that it refuses with")
    limit: int
    used: int = Field(description="In the last 60 seconds, with what running requests are taken for; or running now")
    remaining: int
    resets_at: Time | None = Field(description="When nothing counts any more; null = nothing does, or when they end")


class MeShape(KeyShape):
    """`limits` are the key's own; `budgets` and `allowances` are all that can refuse it."""

    budgets: list[BoundBudgetShape]  # type: ignore[assignment]  # frozen: nobody puts another budget into it
    allowances: list[AllowanceShape]


def me_shape(standing: KeyStanding) -> MeShape:
    own = key_shape(standing.key).model_dump()
    shapes = budget_shapes(bound.budget for bound in standing.budgets)
    budgets = [
        {"scope": bound.scope, **shape.model_dump()} for bound, shape in zip(standing.budgets, shapes, strict=True)
    ]
    return MeShape.model_validate(
        own | {"budgets": budgets, "allowances": [_allowance(one) for one in standing.limits]}
    )


def _allowance(bound: BoundLimit) -> dict[str, object]:
    return {
        "scope": bound.scope,
        "kind": bound.kind,
        "limit": bound.limit,
        "used": bound.used,
        "remaining": bound.remaining,
        "resets_at": None if bound.resets_at is None else format_time(bound.resets_at),
    }
