"""What may be set, asked for and done in a world of limits: strategies, for the machine that tries it all."""

from __future__ import annotations

from hypothesis import strategies as st

from app.core.budgets import BudgetPeriod
from app.core.limits import Limits
from app.core.records import Asked, Prices
from tests.store.limited import holding
from tests.store.limits_endings import ENDINGS

# Evenings before a change of the clocks in Berlin, and before a day that begins a week and a month.
STARTS = ["2026-03-28T22:59:59", "2026-10-24T21:00", "2026-10-25T00:59:59.999", "2026-05-31T21:59:30"]
ZONES = ["Europe/Berlin", "UTC", "Australia/Lord_Howe", "Pacific/Apia"]

Budgets = dict[BudgetPeriod, int]
Asking = tuple[int, Asked, int, str]

CENT = 10**10
KEYS = st.integers(0, 2)
AMOUNTS = st.sampled_from([100, 60, 40, 30, 20, 15, 10, 5, 0]).map(lambda cents: cents * CENT)
BUDGETS = st.just(Budgets()) | st.dictionaries(st.sampled_from(BudgetPeriod), AMOUNTS, max_size=3)
LIMITS = st.builds(
    Limits,
    rpm=st.sampled_from([None, None, 3, 5, 8]),
    tpm=st.sampled_from([None, None, None, 100, 200, 9000]),
    concurrency=st.sampled_from([None, None, None, 2, 3]),
)
ASKED = st.sampled_from(
    [
        *(holding(usd) for usd in ("0.01", "0.02", "0.05", "0.10", "0")),
        Asked(default_picodollars=CENT),
        Asked(default_picodollars=5 * CENT, ceiling_picodollars=CENT),
        Asked(prompt_tokens=30, max_output_tokens=20, prices=Prices(CENT // 100, CENT // 20)),
        Asked(prompt_tokens=900, prices=Prices(10**6, 3 * 10**6)),
    ]
)
# A request is made a moment before it is admitted, perhaps before an edge; longer, if a clock was set meanwhile.
AGES = st.sampled_from([0, 0, 0, 0, 1, 700, 5000, 90_000_000])
ASKING = st.tuples(KEYS, ASKED, AGES, st.sampled_from("mn"))
ENDS = st.sampled_from([*ENDINGS, None])
PASSING = st.sampled_from([0, 0, 1, 900, 7000, 30_000, 60_000])
MOVES = st.sampled_from([1, 999, 1000, 20_000, 60_000, 3_600_000, 86_400_000, 8 * 86_400_000, 32 * 86_400_000])
CALENDARS = st.sampled_from([BudgetPeriod.DAY, BudgetPeriod.WEEK, BudgetPeriod.MONTH])
ZONE_NAMES = st.sampled_from(ZONES)
COSTS = st.sampled_from(["0", "0.00995", "0.02", "0.30"])
