"""What a ledger that saw the whole answer must know of it: the words of the bill's `told`.

Apart from the answers themselves, so that the judgement can be read in one place. Nothing here
is taken from the gateway.
"""

from __future__ import annotations

import re

from app.simulator.amounts import charge_for
from app.simulator.behaviours import At, Behaviour, Failing, Form, Kind, Streamed, Telling, Told
from app.simulator.envelope import Priced
from app.simulator.errors import ErrorAnswer

TRUE_COST, CHARGED, FREE = "true_cost", "charged", "free"

# Of a picture. Whoever reads an answer need not hold more of it than that.
_READABLE_BYTES_MAX = 60_000_000

# A cost in USD: a JSON number, not negative, and not more than anything here costs (RFC 8259 §6).
_USABLE = re.compile(r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]+)?(?:[eE]-?[0-9]{1,2})?|-0(?:\.0+)?")


def streams(behaviour: Behaviour, *, asked: bool) -> bool:
    """Whether the answer is a stream of events."""
    form = behaviour.transfer.form
    return asked if form is Form.AS_ASKED else form is Form.ALWAYS_STREAM


def told(behaviour: Behaviour, *, stream: bool) -> tuple[str, ...]:
    """Which costs an answer states so that they can be counted."""
    if not _comes(behaviour, stream=stream) or behaviour.failing is Failing.WITHOUT_USAGE:
        return ()
    costs = behaviour.costs
    stated = (
        (TRUE_COST, _usable(costs.true_cost)),
        (CHARGED, _usable(costs.charged) and tells_charged(behaviour, stream=stream)),
    )
    return tuple(name for name, usable in stated if usable)


def told_by_error(answer: ErrorAnswer) -> tuple[str, ...]:
    """What an error says that stands in the place of a generation."""
    return (FREE,) if answer.free else ()


def tells_charged(behaviour: Behaviour, *, stream: bool) -> bool:
    """Bodies always have the top-level `cost`; for streams nobody knows, so it can be switched."""
    return not stream or behaviour.costs.streamed is not Streamed.NOWHERE


def mismatches(behaviour: Behaviour, priced: Priced, *, stream: bool) -> bool:
    """The true cost is told, and beside it stands another charge than the one that it makes, or no number."""
    if TRUE_COST not in told(behaviour, stream=stream) or not tells_charged(behaviour, stream=stream):
        return False
    charged = behaviour.costs.charged
    if isinstance(charged, str):
        return charged != "null" and not _usable(charged)
    return charged is Telling.TWICE or priced.charged != charge_for(priced.true_cost)


def _comes(behaviour: Behaviour, *, stream: bool) -> bool:
    """All that tells of costs leaves, in a form that can be read."""
    if behaviour.unreadable or behaviour.transfer.instead or (stream and behaviour.unreadable_stream):
        return False
    if behaviour.kind is Kind.IMAGE and behaviour.size_bytes > _READABLE_BYTES_MAX:
        return False
    # A body that is no stream has no terminal event to leave out.
    return behaviour.ending.at is At.WHOLE or (behaviour.ending.at is At.TERMINAL and not stream)


def _usable(told: Told) -> bool:
    if isinstance(told, Telling):
        return told is Telling.AS_BILLED
    return _USABLE.fullmatch(told) is not None
