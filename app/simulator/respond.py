"""One create request from its understood body to the last byte: generate, bill, answer.

The order is the promise: a generation is on the bill before the end of its answer leaves, and
it is billed whether or not anybody still listens.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.simulator import events
from app.simulator.behaviours import Behaviour, Ending
from app.simulator.bill import BillFile, BillLine, now
from app.simulator.envelope import Priced, begun, ended, price, told_costs
from app.simulator.errors import ErrorAnswer, RefusedError, invalid
from app.simulator.generation import Generation, generate
from app.simulator.jsontext import write
from app.simulator.memory import Memory
from app.simulator.registry import behaviour_of
from app.simulator.request import Asked
from app.simulator.wire import Wire

_BREAKING = {Ending.CUT, Ending.STALL}
_TOLD_WHOLE = {Ending.WHOLE, Ending.FAILED}


@dataclass(slots=True)
class Responder:
    """Answers create requests of one simulator."""

    bill: BillFile
    memory: Memory
    on_billed: Callable[[Priced], None]

    async def answer(self, asked: Asked, wire: Wire) -> None:
        """Raises: `RefusedError`, before anything is sent."""
        behaviour = _behaviour(asked)
        context_tokens = self.memory.context_tokens(asked)
        await asyncio.sleep(behaviour.first_seconds)
        if behaviour.error is not None:
            raise RefusedError(behaviour.error)
        response_id = f"resp_{secrets.token_hex(24)}"
        generation = generate(asked, behaviour, response_id, cached_tokens=context_tokens)
        turn = _Turn(asked, behaviour, generation, price(generation, asked, behaviour.costs), wire)
        await (self._stream(turn) if asked.stream else self._body(turn))

    async def _body(self, turn: _Turn) -> None:
        content = write(self._finish(turn))
        wire, ending = turn.wire, turn.behaviour.ending
        await wire.head(200, "application/json", length=len(content))
        if ending not in _BREAKING:
            await wire.last(content)
            return
        await wire.more(content[: len(content) // 2])
        await self._break(turn)

    async def _stream(self, turn: _Turn) -> None:
        wire, behaviour = turn.wire, turn.behaviour
        framer = events.Framer(behaviour.frames)
        told = [*events.opening(turn.start), *events.telling(list(turn.generation.items))]
        if behaviour.ending in _BREAKING:
            told = told[: len(told) // 2]
        await wire.head(200, "text/event-stream; charset=utf-8")
        for number, event in enumerate(told):
            if number:
                await asyncio.sleep(behaviour.between_seconds)
            await wire.more(framer.frame(event))
        await asyncio.sleep(behaviour.between_seconds)
        end = self._finish(turn)
        if behaviour.ending in _BREAKING:
            await self._break(turn)
            return
        if behaviour.ending is not Ending.NO_TERMINAL:
            await wire.more(framer.frame(events.terminal(end)))
        await wire.last(framer.after_terminal())

    async def _break(self, turn: _Turn) -> None:
        """Leaves the answer as it is: cut at once, or silent until the other side goes."""
        if turn.behaviour.ending is Ending.STALL:
            await turn.wire.gone()

    def _finish(self, turn: _Turn) -> dict[str, Any]:
        """The whole response, billed and stored. Raises: `OSError` when the bill cannot be written."""
        end = turn.end()
        self.bill.append(turn.bill_line())
        self.on_billed(turn.priced)
        if end["status"] != "failed":
            tokens = turn.generation.tokens
            self.memory.keep(turn.asked, end, tokens.input + tokens.output)
        return end


class _Turn:
    """Everything that one answer needs; built when the generation is known."""

    def __init__(self, asked: Asked, behaviour: Behaviour, generation: Generation, priced: Priced, wire: Wire) -> None:
        self.asked = asked
        self.behaviour = behaviour
        self.generation = generation
        self.priced = priced
        self.wire = wire
        self.start = begun(asked, generation.response_id, int(time.time()))

    def end(self) -> dict[str, Any]:
        return ended(
            self.start,
            self.generation,
            self.behaviour,
            self.priced,
            stream=self.asked.stream,
            completed_at=int(time.time()),
        )

    def bill_line(self) -> BillLine:
        ending = self.behaviour.ending
        # A body that does not stream has no terminal event to leave out.
        whole = ending in _TOLD_WHOLE or (ending is Ending.NO_TERMINAL and not self.asked.stream)
        tokens = self.generation.tokens
        return BillLine(
            response_id=self.generation.response_id,
            request_id=self.wire.request_id,
            model=self.asked.model,
            true_cost=self.priced.true_cost,
            charged=self.priced.charged,
            told=told_costs(self.behaviour, stream=self.asked.stream, whole=whole),
            stream=self.asked.stream,
            status=self.generation.status,
            input_tokens=tokens.input,
            cached_tokens=tokens.cached,
            output_tokens=tokens.output,
            reasoning_tokens=tokens.reasoning,
            marker=self.asked.marker,
            sdk_retry=self.asked.sdk_retry,
            at=now(),
        )


def _behaviour(asked: Asked) -> Behaviour:
    try:
        return behaviour_of(asked.model)
    except LookupError as error:
        raise invalid(str(error), "model", "model_not_found") from None


async def send_error(answer: ErrorAnswer, wire: Wire) -> None:
    await wire.head(answer.status, answer.content_type, length=len(answer.body), headers=answer.headers)
    await wire.last(answer.body)
