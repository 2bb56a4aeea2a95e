"""How a simulated model can differ from an ordinary one: in time, words, costs, frames, bytes, and ends.

Shapes only: which model does what is in `models`, how a name finds it in `registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum, auto
from typing import ClassVar

from app.simulator.errors import ErrorAnswer

Headers = tuple[tuple[str, str], ...]


class Telling(Enum):
    AS_BILLED = auto()  # the amount that goes on the bill, in plain notation
    LEFT_OUT = auto()  # no such field
    TWICE = auto()  # the field stands there twice, with 0 behind the right amount


# How a cost is told: one of the above, or this very JSON token whatever is billed.
Told = Telling | str


class Streamed(Enum):
    """Where a stream tells what was charged. Nobody knows where the upstream does, if at all."""

    NOWHERE = auto()
    RESPONSE = auto()  # beside the response's usage
    EVENT = auto()  # beside the terminal event's response


@dataclass(frozen=True, slots=True)
class Costs:
    amount: Decimal | None = None  # a fixed true cost in USD; None = by tokens and price
    charged_amount: Decimal | None = None  # None = the true cost, rounded up as the upstream does
    true_cost: Told = Telling.AS_BILLED
    charged: Told = Telling.AS_BILLED
    streamed: Streamed = Streamed.NOWHERE


class At(Enum):
    """How far an answer comes before its end."""

    HEAD = auto()  # no byte of it
    MIDWAY = auto()  # half of it, whole events
    INSIDE_EVENT = auto()  # half of it, and half an event more
    TERMINAL = auto()  # all but the terminal event
    INSIDE_TERMINAL = auto()  # all but the last bytes of the terminal event
    WHOLE = auto()


class By(Enum):
    """How an answer ends."""

    FRAMING = auto()  # cleanly: as HTTP ends a message
    CLOSE = auto()  # the connection is closed inside the framing
    RESET = auto()  # the same, with a TCP reset
    SILENCE = auto()  # no byte more, the connection stays
    HALF_CHUNK = auto()  # closed inside an HTTP chunk
    BAD_CHUNK = auto()  # a chunk whose size is no number, then closed


@dataclass(frozen=True, slots=True)
class Ending:
    at: At = At.WHOLE
    by: By = By.FRAMING


class Kind(Enum):
    """What the model says."""

    ORDINARY = auto()  # text, or a function call, or JSON: as the request asks
    REFUSAL = auto()
    CALLS = auto()  # a call of every function that the request brings
    IMAGE = auto()  # a picture in base64
    DECOY = auto()  # text that looks like events and costs
    KEY = auto()  # text with the upstream key in it


class Failing(Enum):
    """How a generation fails under status 200."""

    WITH_USAGE = auto()
    WITHOUT_USAGE = auto()  # and nothing is billed


@dataclass(frozen=True, slots=True)
class Frames:
    """How events are written; a body that is no stream takes what applies to it."""

    named: bool = True  # with an `event:` line
    space: bool = True  # behind `data:`
    comments: bool = False  # between events, and inside them
    ids: bool = False  # `id:` and `retry:` lines
    split: bool = False  # JSON over several `data:` lines
    newline: bytes = b"\n"
    bom: bool = False  # also before a body
    broken_utf8: bool = False  # also in a body
    unknown: bool = False  # events of types that nobody knows
    queued: bool = False  # `response.queued` first
    error_first: bool = False  # an `error` event before the terminal one
    done: bool = False  # `data: [DONE]` after the terminal event
    trailing: bool = False  # a comment, an event and another terminal event after the terminal one
    last_line_ends: bool = True  # False: no line end and no blank line after the last event


class Coding(Enum):
    """The content coding of an answer, whatever was asked for."""

    PLAIN = auto()
    GZIP = auto()
    DEFLATE = auto()  # zlib's wrapper, as RFC 9110 has it
    RAW_DEFLATE = auto()  # labelled deflate as well; some servers send it
    BROTLI = auto()
    FALSE_GZIP = auto()  # only the label
    BOMB = auto()  # gzip of an ocean of white space, then the answer


class Form(Enum):
    AS_ASKED = auto()
    ALWAYS_BODY = auto()
    ALWAYS_STREAM = auto()


_BY_FORM = "by form"


@dataclass(frozen=True, slots=True)
class Transfer:
    """How the bytes of an answer travel."""

    form: Form = Form.AS_ASKED
    content_type: str | None = _BY_FORM  # None = no such header
    headers: Headers = ()  # further ones; `{key}` and `{key64}` stand for the upstream key
    coding: Coding = Coding.PLAIN
    piece_bytes: int | None = None  # in HTTP chunks of this size; None = an event or a body at once
    pause_seconds: float = 0.0  # between two such pieces
    interim: tuple[int, ...] = ()  # 1xx answers before the answer
    close_delimited: bool = False  # no length, no chunks: the connection's end ends the body
    length_error: int | None = None  # a Content-Length that is so much too large (or too small)
    behind: bytes = b""  # raw bytes on the connection after the end of the answer
    instead: bytes = b""  # raw bytes in the place of the answer, then the connection is closed

    def content_type_of(self, *, stream: bool) -> str | None:
        if self.content_type != _BY_FORM:
            return self.content_type
        return "text/event-stream; charset=utf-8" if stream else "application/json"


class Parameter(Enum):
    """What a number after the model's name sets, and the most that it may be."""

    NONE = ("", 0)
    FIRST_MS = ("ms to the first byte", 3_600_000)
    BETWEEN_MS = ("ms between two events", 60_000)
    PIECE_MS = ("ms between two pieces", 60_000)
    WORDS = ("words", 1_000_000)
    KILOBYTES = ("KB", 60_000)
    MEGABYTES = ("MB", 200)

    def __init__(self, meaning: str, most: int) -> None:
        self.meaning = meaning
        self.most = most


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    summary: str
    kind: Kind = Kind.ORDINARY
    first_seconds: float = 0.0  # before the head of the answer
    between_seconds: float = 0.0  # between two events
    words: int | None = None  # None = a few dozen, by the input
    size_bytes: int = 48_000  # of a picture; decoded, of a bomb
    reasoning: bool = False
    filtered: bool = False  # incomplete, because of what is said
    usage: tuple[int, int] | None = None  # (input, output) tokens told and billed whatever was said
    extra_usage: bool = False  # fields in `usage` that nobody asked for
    decoy_fields: bool = False  # objects called `usage`, with costs, where none belong
    costs: Costs = field(default_factory=Costs)
    frames: Frames = field(default_factory=Frames)
    transfer: Transfer = field(default_factory=Transfer)
    ending: Ending = field(default_factory=Ending)
    failing: Failing | None = None
    error: ErrorAnswer | None = None  # instead of a generation
    error_is_billed: bool = False  # there was a generation: the error's body states its usage and costs
    unreadable: bool = False  # whoever reads the whole answer need not understand its costs
    unreadable_stream: bool = False  # the same, of a stream alone
    parameter: Parameter = Parameter.NONE

    def with_number(self, number: int) -> Behaviour:
        """Raises: `ValueError` when the behaviour takes none, or not so large a one."""
        if self.parameter is Parameter.NONE:
            raise ValueError("takes no number")
        if number > self.parameter.most:
            raise ValueError(f"takes at most {self.parameter.most} {self.parameter.meaning}")
        return self._set[self.parameter](self, number)

    _set: ClassVar[dict[Parameter, Callable[[Behaviour, int], Behaviour]]] = {
        Parameter.FIRST_MS: lambda it, ms: replace(it, first_seconds=ms / 1000),
        Parameter.BETWEEN_MS: lambda it, ms: replace(it, between_seconds=ms / 1000),
        Parameter.PIECE_MS: lambda it, ms: replace(it, transfer=replace(it.transfer, pause_seconds=ms / 1000)),
        Parameter.WORDS: lambda it, words: replace(it, words=words),
        Parameter.KILOBYTES: lambda it, kilobytes: replace(it, size_bytes=kilobytes * 1000),
        Parameter.MEGABYTES: lambda it, megabytes: replace(it, size_bytes=megabytes * 1_000_000),
    }

    def telling_charge_in_streams(self, place: Streamed = Streamed.RESPONSE) -> Behaviour:
        return replace(self, costs=replace(self.costs, streamed=place))
