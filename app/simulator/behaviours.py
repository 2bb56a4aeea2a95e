"""How a simulated model can differ from an ordinary one: in time, words, costs, frames, and ends.

Shapes only: which model does what is in `models`, how a name finds it in `registry`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum, auto

from app.simulator.errors import ErrorAnswer


class Telling(Enum):
    AS_BILLED = auto()  # the amount that goes on the bill, in plain notation
    LEFT_OUT = auto()  # no such field


# How a cost is told: one of the above, or this very JSON token whatever is billed.
Told = Telling | str


@dataclass(frozen=True, slots=True)
class Costs:
    amount: Decimal | None = None  # a fixed true cost in USD; None = by tokens and price
    true_cost: Told = Telling.AS_BILLED
    charged: Told = Telling.AS_BILLED
    charged_in_stream: bool = False  # streams tell `cost` beside `usage.cost`


class Ending(Enum):
    WHOLE = auto()
    NO_TERMINAL = auto()  # a clean end, but no terminal event
    CUT = auto()  # the connection ends inside the framing, at an event boundary
    STALL = auto()  # no byte more, the connection stays
    FAILED = auto()  # response.failed, with usage


class Kind(Enum):
    """What the model says."""

    ORDINARY = auto()  # text, or a function call, or JSON: as the request asks
    REFUSAL = auto()


@dataclass(frozen=True, slots=True)
class Frames:
    """How events are written."""

    named: bool = True  # with an `event:` line
    comments: bool = False
    done: bool = False  # `data: [DONE]` after the terminal event


class Parameter(Enum):
    """What a number after the model's name sets."""

    NONE = auto()
    FIRST_MS = auto()
    BETWEEN_MS = auto()
    WORDS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    summary: str
    kind: Kind = Kind.ORDINARY
    first_seconds: float = 0.0  # before the head of the answer
    between_seconds: float = 0.0  # between two events
    words: int | None = None  # None = a few dozen, by the input
    reasoning: bool = False
    usage: tuple[int, int] | None = None  # (input, output) tokens told and billed whatever was said
    costs: Costs = field(default_factory=Costs)
    frames: Frames = field(default_factory=Frames)
    ending: Ending = Ending.WHOLE
    extra_usage: bool = False  # fields in `usage` that nobody asked for
    error: ErrorAnswer | None = None  # instead of a generation
    parameter: Parameter = Parameter.NONE

    def with_number(self, number: int) -> Behaviour:
        """Raises: `ValueError` when the behaviour takes none."""
        match self.parameter:
            case Parameter.FIRST_MS:
                return replace(self, first_seconds=number / 1000)
            case Parameter.BETWEEN_MS:
                return replace(self, between_seconds=number / 1000)
            case Parameter.WORDS:
                return replace(self, words=number)
            case Parameter.NONE:
                raise ValueError("takes no number")

    def telling_charge_in_streams(self) -> Behaviour:
        return replace(self, costs=replace(self.costs, charged_in_stream=True))
