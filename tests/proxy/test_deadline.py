"""A deadline is kept to, however often it is set and unset, with one timer of the loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from app.proxy.deadline import Deadline


class Timer:
    def __init__(self, at: float, then: Callable[[], object]) -> None:
        self.at, self.then, self.cancelled = at, then, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """A loop's clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.made = 0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, then: Callable[[], object]) -> Timer:
        self.made += 1
        self.timers.append(Timer(self.now + seconds, then))
        return self.timers[-1]

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.waiting if timer.at <= end]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.then()
        self.now = end

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]


STEPS = st.lists(st.tuples(st.sampled_from(["set", "unset", "pass"]), st.integers(1, 20)), max_size=30)


@given(STEPS)
def test_it_is_reached_when_it_was_set_for(steps: list[tuple[str, int]]) -> None:
    """Whatever was set before, and exactly once."""
    clock, reached = Clock(), []
    deadline = Deadline(cast(Any, clock))
    due: float | None = None
    for what, seconds in steps:
        if what == "set":
            due = clock.now + seconds
            deadline.set(seconds, lambda: reached.append(clock.now))
        elif what == "unset":
            due = None
            deadline.unset()
        else:
            expected = [due] if due is not None and due <= clock.now + seconds else []
            clock.pass_by(seconds)
            assert reached == expected
            reached.clear()
            due = None if expected else due
        assert deadline.is_set == (due is not None)
        assert deadline.left_seconds == (0 if due is None else due - clock.now)
        assert len(clock.waiting) <= 1


def test_a_thousand_requests_are_one_timer() -> None:
    """It is neither taken back nor made anew."""
    clock = Clock()
    deadline = Deadline(cast(Any, clock))
    for _ in range(1000):
        deadline.unset()
        deadline.set(75, lambda: None)
        clock.pass_by(0.01)
    assert clock.made == 1


async def test_its_end_leaves_nothing_behind() -> None:
    """No timer holds what it was made for."""
    loop = asyncio.get_running_loop()
    deadline, reached = Deadline(loop), []
    deadline.set(0.01, lambda: reached.append("first"))
    deadline.end()
    await asyncio.sleep(0.05)
    assert reached == []
    deadline.set(0.01, lambda: reached.append("second"))
    async with asyncio.timeout(5):
        while not reached:
            await asyncio.sleep(0.005)
    assert reached == ["second"]
