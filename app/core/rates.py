"""Requests and tokens per minute: a sliding window of one-second steps.

In every 60 seconds at most so many, whenever they begin. A step leaves 60 s after the last request
in it, so a burst is over exactly a minute later. What a step holds beyond its own second only
ever errs towards fewer. A clock that was set back does not lock anybody out: what then lies in the
future counts as of now. Times are milliseconds. Called by `limits` and the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

MINUTE_MS = 60_000
_STEP_MS = 1000


@dataclass(slots=True)
class Rate:
    """`steps`: [when the last request of the step came, requests, tokens], oldest first. What they come to in all
    stands beside them: each request asks for it several times. `turns`: how often others than the newest changed, so
    that whoever has written these knows whether to write them again."""

    steps: list[list[int]] = field(default_factory=list)
    requests: int = field(init=False)
    tokens: int = field(init=False)
    turns: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        self.requests = sum(step[1] for step in self.steps)
        self.tokens = sum(step[2] for step in self.steps)

    def advance(self, now_ms: int) -> None:
        """Lets go of what is older than a minute."""
        steps = self.steps
        while steps and steps[0][0] + MINUTE_MS <= now_ms:
            _, requests, tokens = steps.pop(0)
            self.requests -= requests
            self.tokens -= tokens
            self.turns += 1
        if steps and steps[-1][0] > now_ms:  # the clock was set back
            self.turns += 1
            for step in steps:
                step[0] = min(step[0], now_ms)

    def add(self, now_ms: int, *, requests: int = 0, tokens: int = 0) -> None:
        newest = self.steps[-1] if self.steps else None
        if newest is None or newest[0] // _STEP_MS < now_ms // _STEP_MS:
            self.steps.append([now_ms, requests, tokens])
            self.turns += 1
        else:
            newest[0] = max(newest[0], now_ms)
            newest[1] += requests
            newest[2] += tokens
        self.requests += requests
        self.tokens += tokens

    def wait_ms(self, now_ms: int, excess: int, *, tokens: bool = False) -> int:
        """How long until so many requests (or tokens) have left; until all have, if they are fewer."""
        column, waiting = 2 if tokens else 1, 0
        for step in self.steps:
            if excess <= 0:
                break
            excess -= step[column]
            waiting = step[0] + MINUTE_MS - now_ms if step[column] else waiting
        return max(0, waiting)

    def empty_in_ms(self, now_ms: int, *, tokens: bool = False) -> int:
        """How long until nothing counts any more."""
        column = 2 if tokens else 1
        for step in reversed(self.steps):  # the newest leaves last
            if step[column]:
                return step[0] + MINUTE_MS - now_ms
        return 0


def rate_of(events: Iterable[tuple[int, int, int]]) -> Rate:
    """From (when in ms, requests, tokens), in any order."""
    rate = Rate()
    for at_ms, requests, tokens in sorted(events):
        rate.add(at_ms, requests=requests, tokens=tokens)
    return rate


def format_reset(wait_ms: int) -> str:
    """A span as OpenAI's `x-ratelimit-reset-*` headers write it: `120ms`, `1s`, `59.5s`, `1m0s`."""
    if wait_ms < 1000:
        return f"{max(0, wait_ms)}ms"
    minutes, rest_ms = divmod(wait_ms, MINUTE_MS)
    seconds, fraction = divmod(rest_ms, 1000)
    text = f"{seconds}.{fraction:03d}".rstrip("0") if fraction else str(seconds)
    return f"{minutes}m{text}s" if minutes else f"{text}s"
