"""The one decision over a request, as a function of facts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.admission import KeyFacts, decide, identified
from app.core.binding import NOTHING_BINDS, Binding
from app.core.budgets import ALWAYS_FROM_MS, ALWAYS_TO_MS, Budget, BudgetPeriod, Span
from app.core.clock import to_ms
from app.core.holds import Billing, Sample
from app.core.limits import BudgetStanding, Limits, Standing, Window
from app.core.records import (
    Admitted,
    Allowance,
    Allowances,
    Asked,
    Intent,
    KeyState,
    Maker,
    Prices,
    ReferenceRules,
    RefusalReason,
    Refused,
    Scope,
)
from app.core.value import replace

NOW = datetime(2026, 11, 22, 23, 53, 3, tzinfo=UTC)
INTENT = Intent("req_1", "key_1", "hash", NOW, "openai/gpt-4o-mini", False)
KEY = KeyFacts("key_1", "alice", "team_1", "blue", ("prod",), (), KeyState.ACTIVE)

Makers = Mapping[str, Maker | None]

LATER, EARLIER = NOW + timedelta(milliseconds=1), NOW - timedelta(milliseconds=1)


def judged(intent: Intent, key: KeyFacts | None, makers: Makers, now: datetime) -> Admitted | Refused:
    """Without any limit."""
    refused = identified(intent, key, makers, now)
    if refused is not None or key is None:
        assert refused is not None
        return refused
    return decide(intent, key, NOTHING_BINDS, lambda: None, to_ms(intent.created_at), to_ms(now))


def test_an_active_key_is_admitted_with_what_the_ledger_shows_of_it() -> None:
    """The verdict carries the names as they are at admission; nothing is held where no budget applies."""
    assert judged(INTENT, KEY, {}, NOW) == Admitted("req_1", "alice", "blue", ("prod",), hold_picodollars=0)


@pytest.mark.parametrize(
    "key",
    [
        None,
        replace(KEY, state=KeyState.DISABLED),
        replace(KEY, state=KeyState.REVOKED),
        replace(KEY, expires_at=NOW),
        replace(KEY, secret_expires_at=NOW),
        replace(KEY, expires_at=LATER, secret_expires_at=EARLIER),
    ],
)
def test_every_useless_key_is_refused_alike(key: KeyFacts | None) -> None:
    """Unknown, disabled, revoked and expired keys get the same verdict, whatever else is wrong with the request."""
    intent = replace(INTENT, references=("resp_1",), model="not/allowed")
    assert judged(intent, key, {}, NOW) == Refused(RefusalReason.KEY_REFUSED)


def test_an_expiry_counts_from_its_very_millisecond() -> None:
    """A key works until its expiry, and not at it."""
    assert isinstance(judged(INTENT, replace(KEY, expires_at=LATER, secret_expires_at=LATER), {}, NOW), Admitted)


def test_a_model_outside_the_patterns_is_refused_with_what_is_allowed() -> None:
    """The refusal tells the patterns, for the error's text."""
    key = replace(KEY, models=("anthropic/*", "openai/gpt-4o"))
    assert judged(INTENT, key, {}, NOW) == Refused(
        RefusalReason.MODEL_NOT_ALLOWED, allowed_models=("anthropic/*", "openai/gpt-4o")
    )
    assert isinstance(judged(INTENT, replace(KEY, models=("openai/*",)), {}, NOW), Admitted)


@pytest.mark.parametrize(
    "makers", [{}, {"resp_2": Maker("key_2")}, {"resp_1": Maker("key_2"), "resp_2": Maker("key_1")}, {"resp_1": None}]
)
def test_a_reference_that_the_key_did_not_make_is_refused(makers: Makers) -> None:
    """Another key's, nobody's and one that never was are refused alike: the first such reference is named."""
    intent = replace(INTENT, references=("resp_1",))
    assert judged(intent, KEY, makers, NOW) == Refused(RefusalReason.RESPONSE_NOT_FOUND, reference="resp_1")


ODD_SPELLINGS = ["resp_1 ", "resp_1\0", "resp_1\n", "résp_1", "resp/1", "r" * 129, ""]


@pytest.mark.parametrize("spelling", ODD_SPELLINGS)
def test_an_unknown_reference_passes_only_if_it_looks_like_an_id(spelling: str) -> None:
    """In another spelling what is another's would be unknown, and an upstream may read it all the same."""
    intent = replace(INTENT, references=("file-1", spelling), rules=ReferenceRules(unknown=True))
    assert judged(intent, KEY, {}, NOW) == Refused(RefusalReason.RESPONSE_NOT_FOUND, reference=spelling)
    assert isinstance(judged(intent, KEY, {spelling: Maker("key_1")}, NOW), Admitted)  # what was told so is its own


MAKERS = [Maker(key, team) for key in ("key_1", "key_2") for team in (None, "team_1", "team_2")]


@given(
    makers=st.dictionaries(st.sampled_from("abcd"), st.none() | st.sampled_from(MAKERS)),
    references=st.lists(st.sampled_from("abcd"), max_size=4),
    rules=st.builds(ReferenceRules, st.booleans(), st.booleans()),
    team=st.sampled_from([None, "team_1"]),
    state=st.sampled_from([KeyState.ACTIVE, KeyState.DISABLED, KeyState.REVOKED]),
    expiry=st.sampled_from([None, EARLIER, NOW, LATER]),
    models=st.sampled_from([(), ("openai/*",), ("other/*",)]),
)
def test_admitted_exactly_when_nothing_speaks_against_it(
    makers: Makers,
    references: list[str],
    rules: ReferenceRules,
    team: str | None,
    state: KeyState,
    expiry: datetime | None,
    models: tuple[str, ...],
) -> None:
    """The verdict is Admitted if and only if key, model and every reference are in order."""
    key = replace(KEY, team_id=team, state=state, expires_at=expiry, models=models)
    verdict = judged(replace(INTENT, references=tuple(references), rules=rules), key, makers, NOW)
    may_be_used = {one: rules.unknown for one in "abcd"}
    for one, maker in makers.items():
        own = maker is not None and maker.key_id == "key_1"
        of_team = rules.of_team and maker is not None and team == maker.team_id == "team_1"
        may_be_used[one] = own or of_team
    in_order = (
        state is KeyState.ACTIVE
        and (expiry is None or expiry > NOW)
        and models != ("other/*",)
        and all(may_be_used[reference] for reference in references)
    )
    assert isinstance(verdict, Admitted) == in_order


# --- limits --------------------------------------------------------------------------------

NOW_MS = to_ms(NOW)
_DAYS = {BudgetPeriod.DAY: 1, BudgetPeriod.WEEK: 7, BudgetPeriod.MONTH: 30}


def _budget(amount: int, period: BudgetPeriod = BudgetPeriod.DAY, **sums: int) -> BudgetStanding:
    span = Span(ALWAYS_FROM_MS, ALWAYS_TO_MS)
    if period in _DAYS:
        span = Span(NOW_MS - 1000, NOW_MS + _DAYS[period] * 86_400_000)
    return BudgetStanding(Budget(amount, period), [Window(span, Billing.CHARGED, **sums)])


def _owner(scope: Scope, *budgets: BudgetStanding, limits: Limits | None = None) -> Standing:
    return Standing(f"{scope}_1", scope, scope.value, limits or Limits(), budgets=list(budgets))


def _asks(hold: int, tokens: int = 0) -> Intent:
    """So much is held, and so many tokens are taken, whatever was before."""
    return replace(INTENT, asked=Asked(tokens, 1, Prices(0, hold), ceiling_picodollars=hold))


def _decided(intent: Intent, *standings: Standing, now_ms: int = NOW_MS) -> Admitted | Refused:
    return decide(intent, KEY, Binding(standings), lambda: None, to_ms(intent.created_at), now_ms)


_SMALL = st.integers(0, 12)
_BUDGETS = st.lists(
    st.builds(
        lambda amount, period, settled, kept, held: _budget(amount, period, settled=settled, kept=kept, held=held),
        st.integers(0, 40),
        st.sampled_from(BudgetPeriod),
        _SMALL,
        _SMALL,
        _SMALL,
    ),
    max_size=3,
)
_LIMITS = st.builds(
    Limits,
    rpm=st.none() | st.integers(1, 6),
    tpm=st.none() | st.integers(1, 60),
    concurrency=st.none() | st.integers(1, 4),
)
_STANDINGS = st.tuples(*(st.tuples(st.just(scope), _BUDGETS, _LIMITS) for scope in Scope)).map(
    lambda made: [_owner(scope, *budgets, limits=limits) for scope, budgets, limits in made]
)
_ASKED = st.lists(st.tuples(_SMALL, st.integers(0, 20), st.sampled_from([0, 0, 1, 900, 30_000, 60_000])), max_size=12)


def _above(standing: Standing) -> list[str]:
    """The limits of an owner that are exceeded, each counted anew."""
    limits = standing.limits
    return [
        *(
            "a budget"
            for one in standing.budgets
            for window in one.windows
            if window.spent + window.held > one.budget.amount_picodollars
        ),
        *(["rpm"] if limits.rpm is not None and standing.rate.requests > limits.rpm else []),
        *(["tpm"] if limits.tpm is not None and standing.rate.tokens + standing.running_tokens > limits.tpm else []),
        *(["concurrency"] if limits.concurrency is not None and standing.running > limits.concurrency else []),
    ]


@given(_STANDINGS, _ASKED)
def test_nothing_is_ever_admitted_above_any_limit(standings: list[Standing], asked: list[tuple[int, int, int]]) -> None:
    """After each admission every budget, rate and count of key, team and gateway is kept; a refusal changes nothing."""
    now_ms = NOW_MS
    for hold, tokens, passing in asked:
        now_ms += passing
        for standing in standings:
            if standing.limits:
                standing.rate.advance(now_ms)
        before = copy.deepcopy(standings)
        verdict = _decided(_asks(hold, tokens), *standings, now_ms=now_ms)
        if isinstance(verdict, Refused):
            assert standings == before
            continue
        assert [_above(standing) for standing in standings] == [[], [], []]
        assert verdict.hold_picodollars == (hold if any(standing.budgets for standing in standings) else 0)
        for standing, earlier in zip(standings, before, strict=True):
            taken = [
                one.windows[0].held - other.windows[0].held
                for one, other in zip(standing.budgets, earlier.budgets, strict=True)
            ]
            assert taken == [verdict.hold_picodollars] * len(standing.budgets)
            if standing.limits:
                assert standing.running - earlier.running == 1
                assert standing.running_tokens - earlier.running_tokens == verdict.tokens_held


@given(_STANDINGS, _SMALL, st.integers(0, 20))
def test_refused_only_by_what_is_in_the_way_and_for_the_reason_that_lasts_longest(
    standings: list[Standing], hold: int, tokens: int
) -> None:
    """A spent budget before all that passes by itself, of several the one that resets last; then the longest wait."""
    held = hold if any(standing.budgets for standing in standings) else 0
    tightest = min((one.limits.tpm for one in standings if one.limits.tpm is not None), default=0)
    least = min(tokens + 1, tightest)
    found = [one for standing in copy.deepcopy(standings) for one in standing.violations(NOW_MS, NOW_MS, held, least)]
    verdict = _decided(_asks(hold, tokens), *standings)
    assert isinstance(verdict, Refused) == bool(found)
    if not isinstance(verdict, Refused):
        return
    spent = [one.hit.resets_at for one in found if one.reason is RefusalReason.BUDGET_SPENT]
    assert verdict.hit is not None
    if spent:
        assert (verdict.reason, verdict.retry_after_ms) == (RefusalReason.BUDGET_SPENT, None)
        assert verdict.hit.resets_at == (None if None in spent else max(at for at in spent if at is not None))
    else:
        assert verdict.reason is not RefusalReason.BUDGET_SPENT
        assert verdict.retry_after_ms == max(one.retry_after_ms or 0 for one in found)


@pytest.mark.parametrize(
    ("standings", "told"),
    [
        ([_owner(Scope.KEY, _budget(5, held=5)), _owner(Scope.TEAM, _budget(5, settled=5))], ("budget_spent", "team")),
        ([_owner(Scope.KEY, _budget(5, settled=5), _budget(9, BudgetPeriod.MONTH, kept=9))], ("budget_spent", "month")),
        ([_owner(Scope.KEY, _budget(5, BudgetPeriod.TOTAL, kept=5), _budget(5, settled=5))], ("budget_spent", "total")),
        ([_owner(Scope.KEY, _budget(5, held=5)), _owner(Scope.GATEWAY, _budget(5, held=5))], ("budget_held", "key")),
        (
            [Standing("k", Scope.KEY, "", Limits(concurrency=1), running=1), _owner(Scope.TEAM, _budget(5, held=5))],
            ("budget_held", "team"),
        ),
    ],
)
def test_what_is_told_first(standings: list[Standing], told: tuple[str, str]) -> None:
    """The one that takes longest to pass; of equals the key's own, which its holder knows best."""
    verdict = _decided(_asks(1), *copy.deepcopy(standings))
    assert isinstance(verdict, Refused)
    assert verdict.hit is not None
    assert verdict.reason == told[0]
    assert told[1] in (verdict.hit.scope, verdict.hit.period)


def test_a_budget_of_nothing_refuses_whatever_may_cost_something() -> None:
    """What surely costs nothing, a model at no price, still passes: the sum is not above the amount."""
    assert isinstance(_decided(_asks(0), _owner(Scope.KEY, _budget(0))), Admitted)
    refused = _decided(_asks(1), _owner(Scope.KEY, _budget(0)))
    assert isinstance(refused, Refused)
    assert refused.reason is RefusalReason.BUDGET_SPENT
    assert isinstance(_decided(_asks(0), _owner(Scope.KEY, _budget(0, settled=1))), Refused)


@pytest.mark.parametrize("limits", [Limits(), Limits(rpm=9, concurrency=9)])
def test_earlier_requests_are_looked_at_only_where_something_depends_on_them(limits: Limits) -> None:
    """Without a budget or a limit of tokens nothing is held, and nothing is asked of the ledger."""

    def most() -> Any:
        raise AssertionError("asked for")

    verdict = decide(_asks(5, 5), KEY, Binding([_owner(Scope.KEY, limits=limits)]), most, NOW_MS, NOW_MS)
    assert isinstance(verdict, Admitted)
    assert (verdict.hold_picodollars, verdict.tokens_held) == (0, 0)


def test_a_request_longer_than_the_limit_of_tokens_waits_until_nothing_else_counts() -> None:
    """It is taken for the whole tightest limit: alone it passes, beside another it waits."""
    standings = [_owner(Scope.KEY, limits=Limits(tpm=1000)), _owner(Scope.TEAM, limits=Limits(tpm=100))]
    verdict = decide(_asks(0, 5000), KEY, Binding(standings), lambda: Sample(1, 90), NOW_MS, NOW_MS)
    assert isinstance(verdict, Admitted)
    assert verdict.tokens_held == 100
    assert verdict.allowances == Allowances(None, Allowance(100, 0, 60_000), None)
    refused = _decided(_asks(0, 0), *standings)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after_ms) == (RefusalReason.TOKENS_PER_MINUTE, 1000)


def test_the_verdict_tells_what_the_tightest_limits_leave() -> None:
    """This request counted; of budgets the smallest rest, of rates the one that ends first."""
    key = _owner(Scope.KEY, _budget(50, settled=10), limits=Limits(rpm=10))
    team = _owner(Scope.TEAM, _budget(90, held=70), _budget(60, BudgetPeriod.MONTH), limits=Limits(rpm=5, tpm=100))
    verdict = _decided(_asks(7, 30), key, team)
    assert isinstance(verdict, Admitted)
    assert verdict.allowances == Allowances(Allowance(5, 4, 60_000), Allowance(100, 69, 60_000), 13)
