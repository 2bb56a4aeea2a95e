"""One generation: the response at its start and its end, and the line of the bill."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from app.simulator import events, telling
from app.simulator.behaviours import At, Behaviour, Failing
from app.simulator.bill import BillLine, now
from app.simulator.envelope import NOTHING, Priced, begun, beside, charge, ended, price, usage
from app.simulator.errors import ErrorAnswer
from app.simulator.framing import BOM, Framer, broken
from app.simulator.generation import Earlier, Generation
from app.simulator.jsontext import read, write
from app.simulator.request import Asked


@dataclass(slots=True)
class Turn:
    """Everything that one answer needs; made when the generation is known."""

    asked: Asked
    behaviour: Behaviour
    generation: Generation
    earlier: Earlier
    request_id: str
    stream: bool = field(init=False)
    billed: bool = field(init=False)
    priced: Priced = field(init=False)
    start: dict[str, Any] = field(init=False)
    framer: Framer = field(init=False)

    def __post_init__(self) -> None:
        behaviour = self.behaviour
        self.stream = telling.streams(behaviour, asked=self.asked.stream)
        self.billed = behaviour.failing is not Failing.WITHOUT_USAGE
        self.priced = price(self.generation, self.asked, behaviour.costs) if self.billed else NOTHING
        self.start = begun(self.asked, self.generation.response_id, int(time.time()))
        self.framer = Framer(behaviour.frames)

    def end(self) -> dict[str, Any]:
        return ended(
            self.start,
            self.generation,
            self.behaviour,
            self.priced,
            stream=self.stream,
            completed_at=int(time.time()),
        )

    def body(self, end: dict[str, Any]) -> bytes:
        """The body of an answer that is no stream."""
        error = self.behaviour.error
        if error is not None:
            shown = usage(self.generation, self.behaviour, self.priced)
            stated = {"usage": shown, **charge(self.behaviour, self.priced)}
            told = read(error.body)
            return write({**told, **stated} if isinstance(told, dict) else stated)
        frames, content = self.behaviour.frames, write(end)
        return (BOM if frames.bom else b"") + (broken(content) if frames.broken_utf8 else content)

    def frames(self) -> list[bytes]:
        """All that a stream says before its end, as far as it comes."""
        frames, at = self.behaviour.frames, self.behaviour.ending.at
        told = events.telling(list(self.generation.items))
        if self.asked.obfuscated:
            told = events.obfuscated(told)
        framed = [self.framer.frame(event) for event in (*events.opening(self.start, queued=frames.queued), *told)]
        if at not in (At.MIDWAY, At.INSIDE_EVENT):
            return framed
        half = len(framed) // 2
        rest = [framed[half][: len(framed[half]) // 2]] if at is At.INSIDE_EVENT else []
        return framed[:half] + rest

    def last_frames(self, end: dict[str, Any]) -> bytes:
        """The terminal event and what stands around it, as far as it comes."""
        frames, at = self.behaviour.frames, self.behaviour.ending.at
        if at in (At.MIDWAY, At.INSIDE_EVENT):
            return b""
        error = self.framer.frame(events.error(end)) if frames.error_first else b""
        if at is At.TERMINAL:
            return error
        event = events.terminal(end, beside(self.behaviour, self.priced))
        terminal = self.framer.terminal(event)
        return error + (terminal[:-40] if at is At.INSIDE_TERMINAL else terminal + self.framer.after_terminal(event))

    def bill_line(self, sha256: str) -> BillLine:
        behaviour, tokens, stream = self.behaviour, self.generation.tokens, self.stream
        answered = behaviour.ending.at is not At.HEAD and not behaviour.transfer.instead
        is_error = behaviour.error is not None
        return BillLine(
            response_id="" if is_error else self.generation.response_id,
            request_id=self.request_id if answered else None,
            model=self.asked.model,
            true_cost=self.priced.true_cost,
            charged=self.priced.charged,
            told=telling.told(behaviour, stream=stream),
            stream=self.asked.stream,
            status="error" if is_error else self.generation.status,
            input_tokens=tokens.input,
            cached_tokens=tokens.cached,
            output_tokens=tokens.output,
            reasoning_tokens=tokens.reasoning,
            marker=self.asked.marker,
            sdk_retry=self.asked.sdk_retry,
            at=now(),
            billed=self.billed,
            charge_mismatch=telling.mismatches(behaviour, self.priced, stream=stream),
            body_sha256=sha256,
        )


def unbilled_line(asked: Asked, answer: ErrorAnswer, request_id: str, sha256: str) -> BillLine:
    """The line of an answer that is no generation."""
    return BillLine(
        response_id="",
        request_id=request_id,
        model=asked.model,
        true_cost=NOTHING.true_cost,
        charged=NOTHING.charged,
        told=telling.told_by_error(answer),
        stream=asked.stream,
        status="error",
        input_tokens=0,
        cached_tokens=0,
        output_tokens=0,
        reasoning_tokens=0,
        marker=asked.marker,
        sdk_retry=asked.sdk_retry,
        at=now(),
        billed=False,
        body_sha256=sha256,
    )
