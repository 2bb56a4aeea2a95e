"""The bench: how fast the gateway is against nginx, against the usual proxy, and against itself in other kinds.

    uv run python -m tests.bench json --connections 64 --rounds 3 --seconds 2 --subjects nginx,gateway

runs one case in half a minute: for whoever works on the hot path. Without a group of cases all usual ones run, in a
quarter of an hour; --list tells them. Only ratios of one run mean anything, and only on a machine that does nothing
else. Every subject has a core of its own, load and upstream have the other one.

    uv run python -m tests.bench json --connections 64 --subjects nginx,gateway@/path/before,gateway

is before and after a change, in one run.

    uv run python -m tests.bench profile --subjects gateway --connections 64 [--stream] [--native]

says where the microseconds of one subject go, function by function (py-spy, which uvx brings).

--keep FILE adds what was found to a file, so that a long run can be made in pieces; `report --keep FILE` tells all of
it, with the goals, and --write puts it into RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.cases import CASES, GROUPS, Case, chosen, peer_cases
from tests.bench.found import Found
from tests.bench.goals import judged
from tests.bench.machine import cores, described, end_descendants, python_ms
from tests.bench.profile import profile
from tests.bench.programs import build
from tests.bench.report import case_text, goal_rows, plain, section, write
from tests.bench.rounds import run
from tests.bench.stand import STARTERS, Stand, starter
from tests.bench.windows import Answer, Load
from tests.bench.wrk import by_wrk

OTHERS = ("profile", "report")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; or one of {', '.join(OTHERS)}"
    )
    parser.add_argument("--connections", "--streams", type=int, help="only cases with so many")
    parser.add_argument(
        "--pause", type=float, metavar="MS", help="only streams whose events are so far apart; 0 = none"
    )
    subjects = f"instead of a case's own: some of {','.join(STARTERS)}; gateway@DIRECTORY = that of another checkout"
    parser.add_argument("--subjects", help=subjects)
    parser.add_argument("--peers", action="store_true", help="gateways of others, beside nginx and ours, JSON and SSE")
    parser.add_argument("--all", action="store_true", help="also the cases that are not usual")
    parser.add_argument("--list", action="store_true", help="tell the cases, run none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each window")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add what is found to this file")
    parser.add_argument("--wrk", action="store_true", help="a second opinion on JSON")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md")
    parser.add_argument("--stream", action="store_true", help="profile: streams without pause")
    parser.add_argument("--native", action="store_true", help="profile: frames of C too")
    parser.add_argument("--lines", type=int, default=40, help="profile: functions told")
    asked = parser.parse_args()
    unknown = [name for name in asked.groups if name not in (*GROUPS, *OTHERS)]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    try:
        for name in (asked.subjects or "nginx").split(","):
            starter(name)
    except ValueError as error:
        parser.error(str(error))
    return asked


def cases(asked: argparse.Namespace) -> list[Case]:
    if asked.peers:
        return peer_cases()
    found = chosen(asked.groups, connections=asked.connections, pause_ms=asked.pause, every=asked.all)
    if asked.subjects:
        found = [Case(**{**vars(case), "subjects": tuple(asked.subjects.split(","))}) for case in found]
    return found


class Kept:
    """What was found, by case, and on what machine: in a file if one is named."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        there = path is not None and path.exists()
        new: dict[str, Any] = {"machine": [], "python_ms": [], "cases": {}}
        self.told: dict[str, Any] = json.loads(path.read_text()) if path and there else new

    def begin(self, machine: list[str], python_ms: float) -> None:
        self.told["machine"] += [line for line in machine if line not in self.told["machine"]]
        self.told["python_ms"].append(python_ms)

    def add(self, case: Case, found: Found) -> None:
        self.told["cases"][case.name] = {"group": case.group, **found.as_json()}
        if self._path is not None:
            self._path.write_text(json.dumps(self.told))

    @property
    def machine(self) -> list[str]:
        """Two runs in which the fixed piece took another time are not alike, whatever else they say."""
        times = self.told["python_ms"]
        fixed = f"a fixed piece of Python took {min(times):.0f} to {max(times):.0f} ms on the subjects' core"
        return [*self.told["machine"], fixed]

    @property
    def results(self) -> dict[str, tuple[str, Found]]:
        order = {case.name: place for place, case in enumerate(CASES)}
        named = sorted(self.told["cases"].items(), key=lambda item: order.get(item[0], len(order)))
        return {name: (one["group"], Found.from_json(one)) for name, one in named}


def run_cases(asked: argparse.Namespace, stand: Stand, kept: Kept) -> None:
    for case in cases(asked):
        started = time.monotonic()
        found = run(stand, case, rounds=asked.rounds, seconds=asked.seconds)
        kept.add(case, found)
        print(f"\n{case_text(case.name, case.group, found)}", flush=True)
        if asked.wrk and case.group == "json":
            for name in found.figures:
                target = stand.subject(name).target
                print(f"  wrk: {name:10} {by_wrk(case.load, target, stand.directory, seconds=asked.seconds)}")
        print(f"  ({time.monotonic() - started:.0f} s)", file=sys.stderr)


def run_profile(asked: argparse.Namespace, stand: Stand) -> None:
    name = (asked.subjects or "gateway").split(",")[-1]
    load = Load(Answer(events=400, text=40) if asked.stream else Answer(), connections=asked.connections or 64)
    print(profile(stand, name, load, stand.directory, seconds=5, native=asked.native, lines=asked.lines))


def measure(asked: argparse.Namespace, kept: Kept) -> None:
    two = cores()
    os.sched_setaffinity(0, {two.load})
    lines = described()
    if two.shared:
        lines.append("one core alone: subject, load and upstream share it, and no figure means much")
    kept.begin(lines, python_ms(two.subject))
    print("\n".join(kept.machine))
    with (
        tempfile.TemporaryDirectory(prefix="irg-bench-") as directory,
        contextlib.ExitStack() as ends,
        contextlib.closing(Stand(build(), two, Path(directory))) as stand,
    ):
        ends.callback(end_descendants)  # while their directory is there
        if "profile" in asked.groups:
            run_profile(asked, stand)
        else:
            run_cases(asked, stand, kept)


def main() -> None:
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was begun is ended then too
    if asked.list:
        print("\n".join(f"{case.group:11} {case.name}{'' if case.usual else '  (--all)'}" for case in CASES))
        return
    kept = Kept(asked.keep)
    if "report" not in asked.groups:
        measure(asked, kept)
    results = kept.results
    if "report" in asked.groups:
        print("\n\n".join(case_text(name, group, found) for name, (group, found) in results.items()))
    verdicts = judged({name: found for name, (_, found) in results.items()})
    if any(verdict.value is not None for verdict in verdicts):
        told = (
            verdicts
            if "report" in asked.groups or not asked.groups
            else [one for one in verdicts if one.value is not None]
        )
        print(f"\n{plain(goal_rows(told))}")
    if asked.write:
        words = ["FILE" if word == str(asked.keep) else word for word in sys.argv[1:]]
        command = "uv run python -m tests.bench " + shlex.join(words)
        if "report" in asked.groups:
            command = "uv run python -m tests.bench GROUP --keep FILE, group by group; then " + command
        write(section(results, kept.machine, command))


if __name__ == "__main__":
    main()
