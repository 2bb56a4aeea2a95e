"""Requests and tokens per minute: a sliding window of one-second steps.

In every 60 seconds at most so many, whenever they begin. A step leaves 60 s after the last request
in it, so a burst is over exactly a minute later. What a step holds beyond its own second only
ever errs towards fewer. A clock that was set back does not lock anybody out: what then lies in the
future counts as of now. Times are milliseconds. Called by `limits` and the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MINUTE_MS = 60_000
_STEP_MS = 1000


@dataclass(slots=True)
class Rate:
    """What counted at the last `advance`, and since: `requests` and `tokens`, which each request asks for.

    `older`: the steps that are over, [when the last request of the step came, requests, tokens], oldest first. The
    newest is what counts beyond them, and its last request came at `at_ms`; 0 = there is none. `older_version`: how
    often `older` changed, so that whoever has written it knows when to write it again.
    """

    requests: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    at_ms: int = field(default=0, init=False)
    older: list[list[int]] = field(default_factory=list, init=False)
    older_version: int = field(default=0, init=False, compare=False)  # a history, not a state
    _older_requests: int = field(default=0, init=False)
    _older_tokens: int = field(default=0, init=False)
    _until_ms: int = field(default=0, init=False)  # then the newest step's second is over
    _leaves_ms: int = field(default=0, init=False, compare=False)  # nothing leaves before

    @property
    def newest(self) -> tuple[int, int, int]:
        """When the last request of the newest step came, requests, tokens; all zeros where there is none."""
        return self.at_ms, self.requests - self._older_requests, self.tokens - self._older_tokens

    @property
    def steps(self) -> list[list[int]]:
        """All of them, oldest first."""
        return [*self.older, list(self.newest)] if self.at_ms else []

    def advance(self, now_ms: int) -> None:
        """Lets go of what is older than a minute; what lies in the future is as of now."""
        if now_ms >= self._leaves_ms or now_ms < self.at_ms:
            self._let_go(now_ms)

    def add(self, now_ms: int, requests: int = 0, tokens: int = 0) -> None:
        """Counts more. Where the clock was set back since the last `advance`, as of the newest step."""
        if now_ms >= self._until_ms:
            self.begin(now_ms)
        elif now_ms > self.at_ms:
            self.at_ms = now_ms
        self.requests += requests
        self.tokens += tokens

    def begin(self, at_ms: int) -> None:
        """A step begins: the newest is over."""
        if self.at_ms:
            self.older.append(list(self.newest))
            self._older_requests, self._older_tokens = self.requests, self.tokens
            self.older_version += 1
        else:  # the only one: nothing leaves before it
            self._leaves_ms = at_ms + MINUTE_MS
        self._at(at_ms)

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
        # The newest leaves last, and mostly there is something in it.
        counts, older = (self.tokens, self._older_tokens) if tokens else (self.requests, self._older_requests)
        if counts > older:
            return self.at_ms + MINUTE_MS - now_ms
        column = 2 if tokens else 1
        last = next((step[0] for step in reversed(self.older) if step[column]), None)
        return 0 if last is None else last + MINUTE_MS - now_ms

    def _let_go(self, now_ms: int) -> None:
        older = self.older
        while older and older[0][0] + MINUTE_MS <= now_ms:
            _, requests, tokens = older.pop(0)
            self.requests -= requests
            self.tokens -= tokens
            self._older_requests -= requests
            self._older_tokens -= tokens
            self.older_version += 1
        if self.at_ms + MINUTE_MS <= now_ms:
            self.requests = self.tokens = self.at_ms = self._until_ms = 0
        elif self.at_ms > now_ms:  # the clock was set back
            for step in older:
                step[0] = min(step[0], now_ms)
            self.older_version += bool(older)
            self._at(now_ms)
        self._leaves_ms = (older[0][0] if older else self.at_ms) + MINUTE_MS

    def _at(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self._until_ms = (at_ms // _STEP_MS + 1) * _STEP_MS


def rate_from(steps: Iterable[Sequence[int]]) -> Rate:
    """From what `Rate.steps` told; a step of zeros is none.

    Not by `add`: behind a clock that was set back, there may be several of one second.
    """
    rate = Rate()
    for at_ms, requests, tokens in steps:
        if at_ms:
            rate.begin(at_ms)
            rate.requests += requests
            rate.tokens += tokens
    return rate


def rate_of(events: Iterable[tuple[int, int, int]]) -> Rate:
    """From (when in ms, requests, tokens), in any order."""
    rate = Rate()
    for at_ms, requests, tokens in sorted(events):
        rate.add(at_ms, requests, tokens)
    return rate


def format_reset(wait_ms: int) -> str:
    """A span as OpenAI's `x-ratelimit-reset-*` headers write it: `120ms`, `1s`, `59.5s`, `1m0s`."""
    if wait_ms < 1000:
        return f"{max(0, wait_ms)}ms"
    minutes, rest_ms = divmod(wait_ms, MINUTE_MS)
    seconds, fraction = divmod(rest_ms, 1000)
    text = f"{seconds}.{fraction:03d}".rstrip("0") if fraction else str(seconds)
    return f"{minutes}m{text}s" if minutes else f"{text}s"
