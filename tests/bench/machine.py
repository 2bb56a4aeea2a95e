"""The machine under the bench: which cores are whose, what a process holds, and what to write beside the figures."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from app.core.clock import now


@dataclass(frozen=True)
class Cores:
    """One for the subject alone, another for everything else: load, upstream, this program."""

    load: int
    subject: int

    @property
    def shared(self) -> bool:
        return self.load == self.subject


def cores() -> Cores:
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1])


def pinned(core: int, *command: str) -> list[str]:
    """A command that runs on one core. Raises: `FileNotFoundError`."""
    taskset = shutil.which("taskset")
    if taskset is None:
        raise FileNotFoundError("taskset is missing: install util-linux")
    return [taskset, "-c", str(core), *command]


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, task.read_text().split())
    return [pid, *(one for child in children for one in family(child))]


def end_descendants() -> None:
    """Of this process: one that was being begun when a signal came is known to nobody else."""
    for pid in family(os.getpid())[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


FIXED = "import time; t = time.process_time(); x = [str(n) for n in range(10**6)]; print(time.process_time() - t)"


def python_ms(core: int) -> float:
    """How long a fixed piece of Python takes on a core, the best of five.

    Virtual machines are slow at times, and Python feels it more than C does: then ratios to nginx are lower.
    """
    command = pinned(core, sys.executable, "-S", "-c", FIXED)
    times = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(5)]
    return min(map(float, times)) * 1000


def thread_cpu(pid: int) -> dict[int, int]:
    """Nanoseconds that each thread of a process has had of a processor, by its id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return found


def memory_bytes(pid: int) -> int:
    """What a process holds of memory (resident), its descendants with it."""
    found = 0
    for each in family(pid):
        told = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{each}/status").read_text(), re.MULTILINE)
        found += int(told[1]) * 1024 if told else 0
    return found


def described() -> list[str]:
    """Machine, day and versions, a line each."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    gib = int(memory[1]) / 2**20 if memory else 0
    packages = ("uvicorn", "httptools", "uvloop", "httpx", "fastapi")
    return [
        f"{now():%Y-%m-%d}, {os.cpu_count()} cores of {model[1] if model else platform.machine()}, {gib:.0f} GiB, "
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in packages)}, "
        f"{nginx_version() or 'no nginx'}, revision {revision()}",
    ]


def nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def nginx_version() -> str | None:
    path = nginx()
    if path is None:
        return None
    told = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stderr
    return told.strip().removeprefix("nginx version: ")


def revision() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
