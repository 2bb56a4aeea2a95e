"""What the gateway is to reach, each goal beside what was found. A goal that was not measured is told as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.bench.found import OTHERS_MAX, Found

Take = Callable[[Found], float | None]


@dataclass(frozen=True)
class Goal:
    """`least`: the figure is to be at least the bound, else at most."""

    figure: str
    case: str
    take: Take
    bound: float
    unit: str
    least: bool = True

    @property
    def text(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.bound:g}{self.unit}"

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound


@dataclass(frozen=True)
class Judged:
    goal: Goal
    value: float | None
    disturbed: bool = False  # others had some of the machine meanwhile: neither verdict is safe

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        verdict = "reached" if self.goal.reached(self.value) else "MISSED"
        return f"{verdict}, but disturbed" if self.disturbed else verdict

    @property
    def value_text(self) -> str:
        if self.value is None:
            return "-"
        number = f"{self.value:,.0f}" if abs(self.value) >= 100 else f"{self.value:.3g}"
        return f"{number}{self.goal.unit}"


def _ratio(measure: str, subject: str = "gateway", other: str = "nginx") -> Take:
    return lambda found: found.ratio(subject, other, measure)


def _more(measure: str) -> Take:
    return lambda found: found.difference("gateway", "nginx", measure)


JSON_1, JSON_64 = "JSON, 1 connection", "JSON, 64 connections"
SSE_16, SSE_500 = "SSE, 16 streams, no pause", "SSE, 500 streams, 20 ms apart"
ONE_BY_ONE = f"{SSE_500}, begun one after the other"
AT_ONCE, IDLE = "100 streams opened at once", "5,000 idle streams"
IN_FLIGHT = "small requests beside a 10 MB body"

RATE, EVENTS = "requests_per_second", "events_per_second"

GOALS = [
    Goal("JSON throughput at 64 connections", JSON_64, _ratio(RATE), 0.20, " of nginx"),
    Goal("the same", JSON_64, _ratio(RATE, other="naive"), 25, " times naive"),
    Goal("the same", JSON_64, _ratio(RATE, other="tuned"), 8, " times tuned httpx"),
    Goal("the same without a ledger", JSON_64, _ratio(RATE, "no-ledger"), 0.28, " of nginx"),
    Goal("added latency at 1 connection, p50", JSON_1, _more("p50_ms"), 0.35, " ms", least=False),
    Goal("added latency at 1 connection, p99", JSON_1, _more("p99_ms"), 1.0, " ms", least=False),
    Goal("SSE events per second, 16 streams, no pause", SSE_16, _ratio(EVENTS), 1.0, " of nginx"),
    Goal("SSE, 500 streams 20 ms apart: carried", SSE_500, _ratio(EVENTS), 0.95, " of nginx"),
    Goal("… CPU per event", SSE_500, _ratio("cpu_us_per_event"), 2.0, " of nginx", least=False),
    Goal("… added delay, p99", SSE_500, _more("delay_p99_ms"), 3, " ms", least=False),
    Goal("… begun one after the other", ONE_BY_ONE, _more("delay_p99_ms"), 3, " ms", least=False),
    Goal("first byte, 100 streams at once, added p99", AT_ONCE, _more("first_byte_p99_ms"), 15, " ms", least=False),
    Goal(
        "the same on new connections",
        f"{AT_ONCE}, on new connections",
        _more("first_byte_p99_ms"),
        15,
        " ms",
        least=False,
    ),
    Goal(
        "memory of an idle stream",
        IDLE,
        lambda found: found.median("gateway", "kib_per_stream"),
        24,
        " KiB",
        least=False,
    ),
    Goal("streams in one process", IDLE, lambda found: found.median("gateway", "streams"), 5000, ""),
    Goal("`power` at 64 connections", JSON_64, _ratio(RATE, "power", "gateway"), 0.85, " of `process`"),
    Goal("budgets, rates, concurrency limits", JSON_64, _ratio(RATE, "limits", "gateway"), 0.85, " of none"),
    Goal(
        "p99 of small requests beside a 10 MB body",
        IN_FLIGHT,
        lambda found: found.median("gateway", "times"),
        3,
        " times their usual",
        least=False,
    ),
]


def judged(results: Mapping[str, Found]) -> list[Judged]:
    """Every goal, in order."""
    nothing = Found()
    found = [(goal, results.get(goal.case, nothing)) for goal in GOALS]
    return [Judged(goal, goal.take(one), one.others > OTHERS_MAX) for goal, one in found]
