"""How long until something answers, and what it holds while nothing happens: commands, `irg serve`, `irg demo`.

    python -m tests.bench.start [--rounds 7] [--only serve,keys]

Everything in turn, several times; medians of the wall clock and of the CPU time until then. Beside them the same of
`python -c pass` and of an application with one route on FastAPI and uvicorn, since only ratios of one run mean
anything. Memory is told of processes that have been idle for a second: RSS, and PSS, which divides what is shared.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.machine import described, family, thread_cpu
from tests.scenarios.gateway_process import free_port
from tests.scenarios.tools import ROOT

READY_SECONDS_MAX = 60.0
IDLE_SECONDS = 1.0

IRG = (sys.executable, "-P", "-m", "app")

BARE = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
app.add_api_route("/readyz", lambda: {"ready": True})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


@dataclass
class Case:
    """What was measured of one thing: milliseconds until it was done or ready, and kibibytes while idle."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rss_kib: list[int] = field(default_factory=list)
    pss_kib: list[int] = field(default_factory=list)


def environment(database: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    settings = {
        "IMAGEROUTER_API_KEY": "bench-upstream-key-0123456789",
        "IRG_UPSTREAM_URL": "http://127.0.0.1:9",  # nobody is asked anything
        "IRG_DATABASE_URL": f"sqlite:///{database}",
    }
    return kept | {"PYTHONPATH": str(ROOT)} | settings | more


def run(case: Case, command: tuple[str, ...], *, settings: dict[str, str], directory: Path) -> None:
    """A command from its start to its end."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=settings, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.stdout, process.stderr
    assert out is not None and err is not None  # noqa: PT018 - both are pipes
    said = out.read(), err.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    case.wall_ms.append((time.perf_counter() - started) * 1000)
    case.cpu_ms.append((used.ru_utime + used.ru_stime) * 1000)
    out.close(), err.close()
    if process.returncode != 0:
        raise ChildProcessError(f"{command}: {said[1].decode()[-2000:]}")


@contextlib.contextmanager
def serving(
    case: Case, command: tuple[str, ...], *, settings: dict[str, str], directory: Path, ready: Callable[[int], bool]
) -> Iterator[None]:
    """A server from its start until it is `ready` (asked with its process id), its memory when idle, and its end."""
    with (directory / "log").open("ab") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=settings, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        while not ready(process.pid):
            if process.poll() is not None or time.perf_counter() - started > READY_SECONDS_MAX:
                raise ChildProcessError(f"{command}: {(directory / 'log').read_text()[-2000:]}")
            time.sleep(0.002)
        case.wall_ms.append((time.perf_counter() - started) * 1000)
        case.cpu_ms.append(sum(thread_cpu(process.pid).values()) / 1e6)
        time.sleep(IDLE_SECONDS)
        held = [memory(pid) for pid in family(process.pid)]
        case.rss_kib.append(sum(rss for rss, _ in held))
        case.pss_kib.append(sum(pss for _, pss in held))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def memory(pid: int) -> tuple[int, int]:
    """RSS and PSS of a process, in KiB."""
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    return int(told["Rss"]), int(told["Pss"])


def answers(port: int) -> bool:
    """`/readyz` is green."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as one:
            one.sendall(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
            return b" 200 " in one.recv(64)
    except OSError:
        return False


class Bench:
    """Each method is one round of one group of cases."""

    def __init__(self, directory: Path) -> None:
        self.cases: dict[str, Case] = {}
        self._directory = directory
        self._ledger = directory / "ledger" / "gateway.db"
        self._ledger.parent.mkdir()
        run(Case(), (*IRG, "keys", "create", "alice"), settings=environment(self._ledger), directory=directory)

    def case(self, name: str) -> Case:
        return self.cases.setdefault(name, Case())

    def references(self) -> None:
        settings = environment(self._ledger)
        run(self.case("python -c pass"), (sys.executable, "-c", "pass"), settings=settings, directory=self._directory)
        self._serve("FastAPI + uvicorn, one route", self._ledger, (sys.executable, "-c", BARE))

    def help(self) -> None:
        for name in ("--version", "--help"):
            self._run(f"irg {name}", name)

    def keys(self) -> None:
        self._run("irg keys list, alone", "keys", "list")
        port = free_port()
        with serving(
            Case(),
            (*IRG, "serve", "--port", str(port)),
            settings=environment(self._ledger),
            directory=self._directory,
            ready=lambda _: answers(port),
        ):
            self._run("irg keys list, beside a gateway", "keys", "list")

    def serve(self) -> None:
        self._serve("irg serve, a ledger that is there", self._ledger)
        with tempfile.TemporaryDirectory(dir=self._directory) as fresh:
            self._serve("irg serve, a new ledger", Path(fresh) / "gateway.db")

    def demo(self) -> None:
        with tempfile.TemporaryDirectory(dir=self._directory) as fresh:
            log = Path(fresh) / "log"
            with serving(
                self.case("irg demo (with its simulator)"),
                (*IRG, "demo", "--json", "--port", "0"),
                settings=environment(self._ledger),
                directory=Path(fresh),
                ready=lambda _: b"\n" in log.read_bytes(),
            ):
                pass

    def _run(self, name: str, *arguments: str) -> None:
        run(self.case(name), (*IRG, *arguments), settings=environment(self._ledger), directory=self._directory)

    def _serve(self, name: str, database: Path, server: tuple[str, ...] = ()) -> None:
        port = free_port()
        command = (*server, str(port)) if server else (*IRG, "serve", "--port", str(port))
        with serving(
            self.case(name),
            command,
            settings=environment(database),
            directory=self._directory,
            ready=lambda _: answers(port),
        ):
            pass


GROUPS = ("references", "help", "keys", "serve", "demo")


def table(cases: dict[str, Case]) -> str:
    """Medians, and how many times as long as `python -c pass`."""
    least = statistics.median(cases["python -c pass"].wall_ms)
    lines = [f"{'':34}{'wall ms':>9}{'least':>7}{'CPU ms':>8}{'x pass':>8}{'RSS MB':>8}{'PSS MB':>8}"]
    for name, case in cases.items():
        wall, cpu = statistics.median(case.wall_ms), statistics.median(case.cpu_ms)
        held = [f"{statistics.median(kib) * 1024 / 1e6:8.1f}" for kib in (case.rss_kib, case.pss_kib) if kib]
        lines.append(
            f"{name:34}{wall:9.0f}{min(case.wall_ms):7.0f}{cpu:8.0f}{wall / least:8.1f}"
            + ("".join(held) or f"{'-':>8}{'-':>8}")
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default=",".join(GROUPS), help="some of " + ",".join(GROUPS))
    asked = parser.parse_args()
    wanted = [name for name in GROUPS if name in asked.only.split(",") or name == "references"]
    with tempfile.TemporaryDirectory(prefix="irg-bench-") as directory:
        bench = Bench(Path(directory))
        for _ in range(asked.rounds):
            for name in wanted:
                getattr(bench, name)()
    print("\n".join(described()))
    print(table(bench.cases))


if __name__ == "__main__":
    main()
