"""One create request from its understood body to the last byte: generate, bill, answer.

The order is the promise: a generation is on the bill before the end of its answer leaves, and
it is billed whether or not anybody still listens.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.simulator.behaviours import At, Behaviour, Kind
from app.simulator.bill import BillFile
from app.simulator.envelope import Priced
from app.simulator.errors import ErrorAnswer, RefusedError, invalid
from app.simulator.generation import generate
from app.simulator.memory import Memory
from app.simulator.registry import behaviour_by_header, behaviour_of
from app.simulator.request import SIMULATE_HEADER, Asked
from app.simulator.sender import Sender
from app.simulator.tools import check_tools
from app.simulator.turn import Turn, unbilled_line
from app.simulator.wire import Wire

# Of a picture; a larger one is not stored, since ten thousand of them would have to fit.
_STORED_BYTES_MAX = 1_000_000


@dataclass(slots=True)
class Responder:
    """Answers create requests of one simulator."""

    bill: BillFile
    memory: Memory
    on_billed: Callable[[Priced], None]

    async def answer(self, asked: Asked, wire: Wire) -> None:
        """Raises: `RefusedError`, before anything is sent."""
        try:
            await self._answer(asked, wire)
        except RefusedError as refusal:
            answer = refusal.answer
            digest = hashlib.sha256(answer.body).hexdigest()
            self.bill.append(unbilled_line(asked, answer, wire.request_id, digest))
            raise

    async def _answer(self, asked: Asked, wire: Wire) -> None:
        behaviour = _behaviour(asked)
        earlier, asked = self.memory.earlier(asked), self.memory.whole(asked)
        check_tools(asked, earlier.items)
        await asyncio.sleep(behaviour.first_seconds)
        if behaviour.error is not None and not behaviour.error_is_billed:
            raise RefusedError(behaviour.error)
        response_id = f"resp_{secrets.token_hex(24)}"
        turn = Turn(asked, behaviour, generate(asked, behaviour, response_id, earlier), earlier, wire.request_id)
        sender = Sender(wire, behaviour, stream=turn.stream, upstream_key=asked.upstream_key)
        if behaviour.ending.at is At.HEAD or behaviour.transfer.instead:
            self._finish(turn, turn.end(), sender)
            await sender.no_answer()
        elif turn.stream and behaviour.transfer.length_error is None:
            await self._stream(turn, sender)
        else:
            await self._whole(turn, sender)

    async def _whole(self, turn: Turn, sender: Sender) -> None:
        """An answer whose length stands in its head: a body, or a stream that has one."""
        end = turn.end()
        content = b"".join([*turn.frames(), turn.last_frames(end)]) if turn.stream else turn.body(end)
        coded, length = sender.coded_whole(content)
        self._finish(turn, end, sender)
        error = turn.behaviour.error
        await sender.head(error.status if error is not None else 200, length)
        await sender.end(coded)

    async def _stream(self, turn: Turn, sender: Sender) -> None:
        await sender.head(200)
        for number, frame in enumerate(turn.frames()):
            if number:
                await asyncio.sleep(turn.behaviour.between_seconds)
            await sender.send(sender.coded(frame))
        await asyncio.sleep(turn.behaviour.between_seconds)
        end = turn.end()
        coded = sender.coded(turn.last_frames(end), end=True)
        self._finish(turn, end, sender)
        await sender.end(coded)

    def _finish(self, turn: Turn, end: dict[str, Any], sender: Sender) -> None:
        """Bills and stores the whole response. Raises: `OSError` when the bill cannot be written."""
        self.bill.append(turn.bill_line(sender.sha256))
        if turn.billed:
            self.on_billed(turn.priced)
        behaviour = turn.behaviour
        is_large = behaviour.kind is Kind.IMAGE and behaviour.size_bytes > _STORED_BYTES_MAX
        if end["status"] != "failed" and not is_large:
            tokens = turn.generation.tokens
            self.memory.keep(turn.asked, end, turn.earlier, tokens.input + tokens.output)


def _behaviour(asked: Asked) -> Behaviour:
    try:
        if asked.simulate is None:
            return behaviour_of(asked.model)
    except LookupError as error:
        raise invalid(str(error), "model", "model_not_found") from None
    try:
        return behaviour_by_header(asked.simulate)
    except LookupError as error:
        raise invalid(str(error), SIMULATE_HEADER, "model_not_found") from None


async def send_error(answer: ErrorAnswer, wire: Wire) -> None:
    await wire.head(answer.status, answer.content_type, length=len(answer.body), headers=answer.headers)
    await wire.last(answer.body)
