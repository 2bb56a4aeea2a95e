"""The cases: what is asked of whom. A plain run takes the usual ones, `--all` every one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tests.bench.windows import Answer, Load

TEXT = Answer()
MEGABYTES_10 = 10_000_000

# A stream lasts a second or so, and each of its events is a word or two.
UNPAUSED_EVENTS = 400
STREAM_SECONDS = 1.0

# Streams that are opened at once again and again.
SHORT = Answer(text=40, events=5, pause_ms=20)

# Small requests beside a large body: few enough that nobody waits for a place, each timed from when it was due.
SMALL = Load(TEXT, connections=16, rate=400)


def stream(pause_ms: float, burst: int = 1) -> Answer:
    """A stream of words; without a pause, so many events as keep it going."""
    events = round(STREAM_SECONDS * 1000 / pause_ms) if pause_ms else UNPAUSED_EVENTS
    return Answer(text=40, events=events, pause_ms=pause_ms, burst=burst)


@dataclass(frozen=True)
class Case:
    """`kind`: a closed loop in windows, streams that are held open, or small requests beside a large body."""

    name: str
    group: str
    load: Load
    subjects: tuple[str, ...] = ("nginx", "gateway")
    usual: bool = True
    tls: bool = False
    kind: Literal["windows", "held", "beside"] = "windows"


BOTH = ("nginx", "gateway")
REFERENCES = (*BOTH, "tuned", "naive")
EVERYBODY = (*BOTH, "no-ledger", "power", "limits", "httpx", "tuned", "naive")
WHOLE_ANSWERS_ONLY = ("plain", "spliced", "duties", "duties-in-tasks")


def json_case(connections: int, subjects: tuple[str, ...] = BOTH, *, usual: bool = True) -> Case:
    return Case(f"JSON, {_many(connections)}", "json", Load(TEXT, connections), subjects, usual)


def sse_case(
    streams: int,
    pause_ms: float,
    subjects: tuple[str, ...] = BOTH,
    *,
    usual: bool = True,
    burst: int = 1,
    spread: float = 0,
) -> Case:
    """`spread`: the streams begin one after the other within so many seconds, not all in one moment."""
    apart = f"{pause_ms:g} ms apart" if pause_ms else "no pause"
    each = f", {burst} events a write" if burst > 1 else ""
    begun = ", begun one after the other" if spread else ""
    name = f"SSE, {streams} {'stream' if streams == 1 else 'streams'}, {apart}{each}{begun}"
    return Case(name, "sse", Load(stream(pause_ms, burst), streams, spread=spread), subjects, usual)


def _many(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"


def _sse_cases() -> list[Case]:
    usual = {(16, 0.0): REFERENCES, (1, 5.0): BOTH, (100, 5.0): BOTH, (500, 20.0): BOTH}
    cases = []
    for pause_ms in (0.0, 5.0, 20.0):
        for streams in (1, 16, 100, 500, 2000):
            subjects = usual.get((streams, pause_ms), BOTH)
            cases.append(sse_case(streams, pause_ms, subjects, usual=(streams, pause_ms) in usual))
    return [*cases, sse_case(500, 20.0, BOTH, spread=STREAM_SECONDS), sse_case(16, 0.0, BOTH, burst=16)]


def _body_cases() -> list[Case]:
    sizes = (("1 KB", 1000, 64), ("100 KB", 100_000, 16), ("10 MB", MEGABYTES_10, 2))
    up = [
        Case(f"request of {name}, {_many(connections)}", "bodies", Load(TEXT, connections, body_bytes=size))
        for name, size, connections in sizes
    ]
    down = [
        Case(f"answer of {name}, {_many(connections)}", "bodies", Load(Answer(text=size), connections), usual=False)
        for name, size, connections in sizes
    ]
    return up + down


CASES = [
    json_case(1, (*BOTH, "power", "tuned")),
    json_case(16),
    json_case(64, (*EVERYBODY, *WHOLE_ANSWERS_ONLY)),
    json_case(256, REFERENCES),
    *_sse_cases(),
    Case("100 streams opened at once", "first-byte", Load(SHORT, 100, volley=True)),
    Case("100 streams opened at once, on new connections", "first-byte", Load(SHORT, 100, volley=True, fresh=True)),
    Case("5,000 idle streams", "idle", Load(Answer(events=2, pause_ms=900_000, text=40), 5000), kind="held"),
    *_body_cases(),
    Case("small requests beside a 10 MB body", "in-flight", SMALL, kind="beside"),
    Case("TLS upstream, JSON, 64 connections", "tls", Load(TEXT, 64), tls=True),
    Case("TLS upstream, SSE, 500 streams, 20 ms apart", "tls", Load(stream(20), 500), tls=True),
]

GROUPS = tuple(dict.fromkeys(case.group for case in CASES))


def peer_cases() -> list[Case]:
    """What gateways of others are measured by: nginx and ours in the same run."""
    all_of_them = (*BOTH, "litellm", "portkey", "smg")
    cases = [json_case(1), json_case(64), sse_case(16, 0.0), sse_case(100, 20.0)]
    return [replace(case, name=f"peers: {case.name}", subjects=all_of_them) for case in cases]


def chosen(groups: list[str], *, connections: int | None, pause_ms: float | None, every: bool) -> list[Case]:
    """The cases of these groups (of all, if none is named), with so many connections, where that is said.

    A number that no case has makes one of its own. Raises: `ValueError` if nothing is left.
    """
    found = [case for case in CASES if not groups or case.group in groups]
    if connections is not None:
        found = [case for case in found if case.load.connections == connections]
    if pause_ms is not None:
        found = [case for case in found if case.load.answer.events and case.load.answer.pause_ms == pause_ms]
    narrowed = connections is not None or pause_ms is not None
    found = [case for case in found if every or narrowed or case.usual]
    if not found and connections and groups in (["json"], ["sse"]):
        return [json_case(connections) if groups == ["json"] else sse_case(connections, pause_ms or 0.0)]
    if not found:
        raise ValueError("no case is like that: see --list")
    return found
