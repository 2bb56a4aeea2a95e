"""Where the microseconds go: a subject under load, looked at some hundred times a second by py-spy from outside.

py-spy comes by `uvx` and needs to be allowed to look at other processes (root, or ptrace_scope 0). What it tells is
shares of samples; they are multiplied by the subject's processor time per request (per event of a stream), measured in
the same window, so that two runs can be compared function by function.

It looks without stopping the process, so functions that take a microsecond get each other's samples: it tells which
part is dear, not which line. RESULTS.md has a way by `perf` that does, with Python 3.13.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.machine import thread_cpu
from tests.bench.rounds import FIRST_WARM_SECONDS
from tests.bench.stand import Stand
from tests.bench.windows import Load

PY_SPY = "py-spy==0.4.3"

SAMPLES_PER_SECOND = 500

# What every sample stands in says nothing.
OUTERMOST = (
    "<frozen runpy>",
    "app/__main__",
    "app/cli/",
    "typer/",
    "asyncio/runners",
    "uvloop/",
    "threading.py Thread",
)

_THREAD = re.compile(r"^thread \((?P<id>\d+)\): (?P<name>[^;]*);(?P<frames>.*)$")
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::(?P<line>\d+))?\)$")


class NoProfiler(Exception):
    """py-spy is not to be had, or is not allowed to look; the text says which."""


@dataclass
class Thread:
    """Samples of one thread by function: `own` = it ran itself, `with_callees` = it or what it called."""

    name: str
    samples: int = 0
    own: Counter[str] = field(default_factory=Counter)
    with_callees: Counter[str] = field(default_factory=Counter)


def read_stacks(lines: Iterable[str]) -> dict[int, Thread]:
    """From py-spy's `raw` format, by the system's thread id: frames from the outermost in, and how often seen."""
    threads: dict[int, Thread] = {}
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        found = _THREAD.match(stack)
        if found is None or not count.isdigit():
            continue
        thread = threads.setdefault(int(found["id"]), Thread(found["name"]))
        named = [_named(frame) for frame in found["frames"].split(";")]
        thread.samples += int(count)
        thread.own[named[-1]] += int(count)
        for name in {name for name in named if not name.startswith(OUTERMOST)}:
            thread.with_callees[name] += int(count)
    return threads


def weighed(threads: dict[int, Thread], cpu: dict[int, int], each: float) -> list[Counter[str]]:
    """Microseconds by thread, by function itself, by function with its callees; they sum up to `each`.

    A thread's samples share what that thread had of a processor: it was seen also while it waited for its turn.
    """
    by_thread, own, with_callees = Counter[str](), Counter[str](), Counter[str]()
    whole = sum(cpu.get(number, 0) for number in threads) or 1
    for number, thread in threads.items():
        microseconds = each * cpu.get(number, 0) / whole
        by_thread[thread.name] += microseconds  # type: ignore[assignment]  # a Counter sums up floats as well
        for counted, into in ((thread.own, own), (thread.with_callees, with_callees)):
            for name, count in counted.items():
                into[name] += microseconds * count / thread.samples  # type: ignore[assignment]
    return [by_thread, own, with_callees]


def _named(frame: str) -> str:
    """`relay.py run`, `sqlite3_step [libsqlite3.so]`: short, and the same in every run."""
    found = _FRAME.match(frame)
    if found is None:
        return frame
    file = found["file"].rpartition("site-packages/")[2].removeprefix("/")
    return f"{file} {found['name']}" if found["line"] else f"{found['name']} [{Path(file).name}]"


def profile(stand: Stand, name: str, load: Load, directory: Path, *, seconds: float, native: bool, lines: int) -> str:
    """Raises: `NoProfiler`, `NotThere`, `ChildProcessError`."""
    running, loader = stand.subject(name), stand.loader()
    loader.run(load, running.target, seconds=0.2, warm=FIRST_WARM_SECONDS)
    load_process = loader.start(load, running.target, seconds=seconds + 1, warm=0.3)
    pid = running.target.pids[0]
    try:
        before = thread_cpu(pid)
        threads = _looked_at(pid, directory / "stacks", seconds, native=native)
        cpu = {number: after - before.get(number, 0) for number, after in thread_cpu(pid).items()}
    finally:
        window = loader.end(load_process, running.target, seconds)
    if window.void:
        return f"void: {window.void}"
    what = "request" if load.answer.events is None else "event"
    return told(threads, cpu, window.figures()[f"cpu_us_per_{what}"], what, lines)


def _looked_at(pid: int, file: Path, seconds: float, *, native: bool) -> dict[int, Thread]:
    uvx = shutil.which("uvx")
    if uvx is None:
        raise NoProfiler("uvx is missing: it comes with uv")
    command = [
        uvx,
        PY_SPY,
        "record",
        "--pid",
        str(pid),
        "--rate",
        str(SAMPLES_PER_SECOND),
        "--duration",
        f"{seconds:.0f}",
    ]
    command += ["--format", "raw", "--output", str(file), "--threads", "--function"]
    # With frames of C it must stop the process to look; without, who waits and who runs can be told apart.
    command.append("--native" if native else "--nonblocking")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode != 0:
        raise NoProfiler(done.stderr[-1000:])
    return read_stacks(file.read_text().splitlines())


def told(threads: dict[int, Thread], cpu: dict[int, int], each: float, what: str, lines: int) -> str:
    """The table: microseconds for each request (or event), by thread and by function."""
    samples = sum(thread.samples for thread in threads.values())
    text = [f"{each:.1f} us of processor time for each {what}, {samples} samples"]
    titles = (("by thread", 8), ("a function itself", lines), ("with all that it calls", lines))
    for (title, most), counted in zip(titles, weighed(threads, cpu, each), strict=True):
        text += ["", title, *(f"{amount:9.1f}  {name}" for name, amount in counted.most_common(most))]
    return "\n".join(text)
