"""Runs a case: every subject in turn, several times over (A B C A B C …), so that the machine's moods meet them all."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Callable

from tests.bench.cases import MEGABYTES_10, Case
from tests.bench.found import OTHERS_MAX, Figures, Found, Void
from tests.bench.machine import memory_bytes
from tests.bench.stand import Stand
from tests.bench.subjects import NotThere, Running
from tests.bench.windows import Answer, Load, Loader, Window

# A subject's first windows of a case are thrown away; later ones begin with a moment that is not counted.
FIRST_WARM_SECONDS = 1.0
WARM_SECONDS = 0.3

# Streams that are opened one after the other, a few hundred at once; a thousand take a second or two.
HOLD_SECONDS_MAX = 90.0

LARGE = Load(Answer(), connections=1, body_bytes=MEGABYTES_10)

One = Callable[[Running], Figures | Void]


def run(
    stand: Stand, case: Case, *, rounds: int, seconds: float, first_warm_seconds: float = FIRST_WARM_SECONDS
) -> Found:
    """Raises: `ChildProcessError`."""
    if case.kind == "held":
        return _held(stand, case, first_warm_seconds)
    found, there = Found(), {}
    for name in case.subjects:
        try:
            there[name] = stand.subject(name, tls=case.tls)
        except (NotThere, ChildProcessError) as why:
            found.missing[name] = str(why)
    if not there:
        return found
    loader = stand.loader(tls=case.tls)

    def in_window(running: Running) -> Figures | Void:
        return _figures(loader.run(case.load, running.target, seconds=seconds, warm=WARM_SECONDS))

    def beside(running: Running) -> Figures | Void:
        return _beside(loader, case.load, running, seconds)

    for running in there.values():
        loader.run(case.load, running.target, seconds=0.2, warm=first_warm_seconds)
    in_turn(there, found, beside if case.kind == "beside" else in_window, rounds)
    return found


def in_turn(there: dict[str, Running], found: Found, one: One, rounds: int) -> None:
    """A disturbed window is made again: in a case as often as it has rounds."""
    again = rounds
    for _ in range(rounds):
        for name, running in there.items():
            figures = one(running)
            while again and not isinstance(figures, Void) and figures["others"] > OTHERS_MAX:
                figures = one(running)
                again -= 1
            found.add(name, figures)


def _figures(window: Window) -> Figures | Void:
    return Void(window.void) if window.void else window.figures()


# --- small requests beside a large body -----------------------------------------------------------------------


def _beside(loader: Loader, load: Load, running: Running, seconds: float) -> Figures | Void:
    """Small requests alone, and while one connection sends 10 MB bodies without a pause."""
    alone = loader.run(load, running.target, seconds=seconds, warm=WARM_SECONDS)
    large = loader.start(LARGE, running.target, seconds=seconds + 2 * WARM_SECONDS, warm=WARM_SECONDS)
    try:
        beside = loader.run(load, running.target, seconds=seconds, warm=2 * WARM_SECONDS)
    finally:
        bodies = loader.end(large, running.target, seconds + 3 * WARM_SECONDS)
    why = alone.void or beside.void or bodies.void
    if why:
        return Void(why)
    usual, then = alone.latency["p99"] / 1e6, beside.latency["p99"] / 1e6
    return {
        "p99_ms": usual,
        "p99_beside_ms": then,
        "times": then / usual,
        "bodies_per_second": bodies.requests / bodies.seconds,
        "others": alone.others,  # in the other window the large body's load is none of them, and not told
    }


# --- streams that are held open -------------------------------------------------------------------------------


def _held(stand: Stand, case: Case, warm_seconds: float) -> Found:
    """Once each, in a process of its own, which has served some requests before."""
    found = Found()
    for name in case.subjects:
        try:
            with stand.fresh(name) as running:
                loader = stand.loader()
                loader.run(Load(Answer(), 64), running.target, seconds=0.5, warm=warm_seconds)
                found.add(name, _hold(loader, case.load, running))
        except NotThere as why:
            found.missing[name] = str(why)
    return found


def _hold(loader: Loader, load: Load, running: Running) -> Figures | Void:
    before = memory_bytes(running.process.pid)
    command = [*loader.command(load, running.target), "--hold"]
    holding = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        told = _line(holding, HOLD_SECONDS_MAX).split(maxsplit=2)
        after = memory_bytes(running.process.pid)
    finally:
        holding.kill()
        holding.communicate()
    if told[:2] != ["held", str(load.connections)]:
        return Void(f"of {load.connections} streams were open: {' '.join(told) or 'not all, in time'}")
    return {
        "streams": load.connections,
        "kib_per_stream": (after - before) / 1024 / load.connections,
        "mib_before": before / 2**20,
        "mib_then": after / 2**20,
    }


def _line(process: subprocess.Popen[str], seconds: float) -> str:
    """Its next line; "" if none comes in time."""
    assert process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda out: lines.put(out.readline()), args=(process.stdout,), daemon=True).start()
    try:
        return lines.get(timeout=seconds)
    except queue.Empty:
        return ""
