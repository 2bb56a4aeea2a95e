"""What is set aside for a request before it runs, and what counts of it afterwards.

A hold is a guess from above: 1.5 times the most that the key's last requests to the model cost,
else what its length may cost at the model's prices, else a fixed amount; never above the
operator's ceiling for the model. Money is an integer of 10⁻¹² USD. Called by the store, inside the
transaction that admits or settles.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from app.core.money import CHARGE_STEP_PICODOLLARS
from app.core.records import Asked, Cost, Reading, Settlement, State
from app.core.value import Value

# So many of a key's last settled costs of a model are looked at, and so many are needed.
SAMPLES_MAX = 50
SAMPLES_MIN = 5

# More than any budget, and within 64 bits, however many tokens a client asks for.
HOLD_PICODOLLARS_MAX = 8 * 10**18

# What a request without `max_output_tokens` is taken to put out.
OUTPUT_TOKENS_DEFAULT = 4096

# A picture or a file in the body is taken for so many tokens; of text, two bytes are a token.
PART_TOKENS = 2000
TEXT_BYTES_PER_TOKEN = 2


class Billing(StrEnum):
    """Which of the two costs counts against budgets."""

    CHARGED = "charged"
    TRUE_COST = "true_cost"


class Counting(Value, frozen=True):
    """How a cost becomes what a budget has spent. `unknown_keeps_hold`: an unknown cost counts as its hold."""

    billing: Billing = Billing.CHARGED
    unknown_keeps_hold: bool = True


class Sample(Value, frozen=True):
    """The most that any of a key's last requests to a model cost, and the most tokens of any: perhaps of another."""

    counted_picodollars: int
    tokens: int


def prompt_tokens(text_bytes: int, parts: int) -> int:
    """A guess from above of the tokens of a prompt: so many bytes of text, so many pictures and files."""
    return -(-text_bytes // TEXT_BYTES_PER_TOKEN) + parts * PART_TOKENS


class Recent:
    """The most of a key's last settled requests to a model: each request asks for it."""

    __slots__ = ("_costs", "_count", "_tokens")

    def __init__(self) -> None:
        self._count = 0
        self._costs, self._tokens = _Most(), _Most()

    def add(self, counted_picodollars: int, tokens: int) -> None:
        self._count += 1
        self._costs.add(self._count, counted_picodollars)
        self._tokens.add(self._count, tokens)

    @property
    def most(self) -> Sample | None:
        """The most that any of the last `SAMPLES_MAX` cost, and the most tokens of any; None: too few are known."""
        if self._count < SAMPLES_MIN:
            return None
        return Sample(self._costs.most, self._tokens.most)


class _Most:
    """The largest of the last so many numbers. What comes after a number and is no less makes it matter no more."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: deque[tuple[int, int]] = deque()  # (which one it was, the number), the largest first

    def add(self, count: int, number: int) -> None:
        left = self._left
        while left and left[-1][1] <= number:
            left.pop()
        left.append((count, number))
        if left[0][0] <= count - SAMPLES_MAX:
            left.popleft()

    @property
    def most(self) -> int:
        return self._left[0][1]


def hold(asked: Asked, most: Sample | None) -> int:
    """What to set aside for a request. `most`: see `Recent.most`."""
    amount = max(_guess(asked, most), _surely(asked))
    ceiling = HOLD_PICODOLLARS_MAX if asked.ceiling_picodollars is None else asked.ceiling_picodollars
    return min(amount, ceiling)


def _surely(asked: Asked) -> int:
    """What a request costs by its own length, whatever earlier ones came to: half of the prompt's guess from above
    (four bytes a token, as text mostly is), and the output that the client allows. Without it, some tiny requests would
    make room for a crowd of huge ones."""
    if asked.prices is None:
        return 0
    prompt_cost = asked.prompt_tokens // 2 * asked.prices.prompt_picodollars
    return prompt_cost + (asked.max_output_tokens or 0) * asked.prices.completion_picodollars


def _guess(asked: Asked, most: Sample | None) -> int:
    if most is not None:
        return _half_more(most.counted_picodollars)
    if asked.prices is None:
        return asked.default_picodollars
    output = OUTPUT_TOKENS_DEFAULT if asked.max_output_tokens is None else asked.max_output_tokens
    prompt_cost = asked.prompt_tokens * asked.prices.prompt_picodollars
    # Rounded up as every charge is, or the smallest requests would always be charged more than was held.
    cost = prompt_cost + output * asked.prices.completion_picodollars
    return -(-cost // CHARGE_STEP_PICODOLLARS) * CHARGE_STEP_PICODOLLARS


def tokens_held(asked: Asked, most: Sample | None) -> int:
    """How many tokens a running request is taken for, until its own are known. `most`: see `Recent.most`."""
    if most is not None:
        return _half_more(most.tokens)
    output = OUTPUT_TOKENS_DEFAULT if asked.max_output_tokens is None else asked.max_output_tokens
    return asked.prompt_tokens + output


def counted(reading: Reading, billing: Billing) -> Cost | None:
    """The cost that counts against budgets: the one that is billed by, else the other; None = both are unknown."""
    first, second = reading.charged, reading.true_cost
    if billing is Billing.TRUE_COST:
        first, second = second, first
    return first if first is not None else second


def counted_both(reading: Reading) -> tuple[int, int] | None:
    """(10⁻¹² USD where charges count, where true costs do); None = both are unknown."""
    charged, true_cost = reading.charged or reading.true_cost, reading.true_cost or reading.charged
    if charged is None or true_cost is None:  # both are, or neither
        return None
    return charged.picodollars, true_cost.picodollars


def counted_from(true_cost: int | None, charged: int | None, billing: Billing) -> Billing | None:
    """Which cost that is, of a request as it stands in the ledger; None = both are unknown."""
    if true_cost is None and charged is None:
        return None
    if billing is Billing.TRUE_COST:
        return Billing.CHARGED if true_cost is None else Billing.TRUE_COST
    return Billing.TRUE_COST if charged is None else Billing.CHARGED


def keeps_hold(settlement: Settlement, counting: Counting) -> bool:
    """Whether an unknown cost goes on counting as what was held for it.

    An upstream's 5xx before any output never does: an hour of them must not use up a budget.
    """
    if settlement.state is not State.UNKNOWN or not counting.unknown_keeps_hold:
        return False
    return settlement.status is None or settlement.status < 500


def _half_more(most: int) -> int:
    return most + (most + 1) // 2
