"""What a process asked of the system, in order, as strace tells it; and whether the ledger was always first.

strace stops every thread before and after each call it is to tell, so the order of its lines is the order of things.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = "write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync"

# -D: the traced process stays the child of who started it; whole database pages are told.
STRACE = ("strace", "-D", "-f", "--seccomp-bpf", "-yy", "-s", "5000", "-e", f"trace={CALLS}", "-e", "signal=none")

_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\()(?P<rest>.*)")


@dataclass
class Call:
    name: str
    text: str  # its arguments, files and sockets named
    began: int  # line numbers
    ended: int | None = None


@dataclass(frozen=True)
class Exchange:
    """One request as its client knows it: the ledger's id, the marker that goes up, and what its answer's end holds."""

    request_id: str
    marker: str
    end: str


def read_calls(lines: Sequence[str]) -> list[Call]:
    calls: list[Call] = []
    running: dict[str, Call] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            continue
        if found["resumed"]:
            running.pop(found["pid"]).ended = number
            continue
        call = Call(found["call"], found["rest"], number)
        calls.append(call)
        if line.endswith("<unfinished ...>"):
            running[found["pid"]] = call
        else:
            call.ended = number
    return calls


def disorder(calls: Sequence[Call], exchanges: Sequence[Exchange], *, port: int, synced: bool) -> Iterator[str]:
    """A sentence for each step that came before the ledger had what it must have had.

    `port`: where the gateway listens. `synced`: what was written must also have been on the disk.
    """
    for one in exchanges:
        forwarded = _first(calls, f"x-stainless-marker: {one.marker}\\r", after=-1)
        wrote = _in_ledger(calls, one.request_id, after=-1, synced=synced)
        if wrote is None or wrote > forwarded:
            yield f"{one.marker}: it was forwarded before its intent was {'on the disk' if synced else 'written'}"
        answered = _first(calls, one.end, after=forwarded, socket=f"TCP:[127.0.0.1:{port}->")
        wrote = _in_ledger(calls, one.request_id, after=forwarded, synced=synced)
        if wrote is None or wrote > answered:
            yield f"{one.marker}: its end was sent before its cost was {'on the disk' if synced else 'written'}"


def _first(calls: Sequence[Call], text: str, *, after: int, socket: str = "TCP:[") -> int:
    """When a text first began to be sent."""
    for call in calls:
        if call.began > after and socket in call.text and text in call.text:
            return call.began
    raise AssertionError(f"{text} was never sent")


def _in_ledger(calls: Sequence[Call], request_id: str, *, after: int, synced: bool) -> int | None:
    """When the database's log, after a moment, first held a new page with a request; None: never."""
    to_log = [
        call for call in calls if "gateway.db-wal>" in call.text and call.began > after and call.ended is not None
    ]
    for number, call in enumerate(to_log):
        if call.name.startswith("pwrite") and request_id in call.text:
            if not synced:
                return call.ended
            syncs = [later for later in to_log[number + 1 :] if later.name in ("fsync", "fdatasync")]
            return next((later.ended for later in syncs if later.began > (call.ended or 0)), None)
    return None


def read_trace(path: Path) -> list[Call]:
    return read_calls(path.read_text("utf-8", "replace").splitlines())
