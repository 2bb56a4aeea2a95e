"""One window of load on one subject: what was asked of it, what was seen, and whether that counts."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.found import Figures
from tests.bench.upstream import Upstream

# So long at most a load waits for every connection to be answered before its window begins, and after it for what runs
# to its end (LINGER in load.c); and some seconds for itself.
LINGER_SECONDS = 20
PATIENCE_SECONDS = 15


@dataclass(frozen=True)
class Answer:
    """What the upstream is asked for. `events` None = one JSON object with a text of `text` bytes."""

    text: int = 200
    events: int | None = None
    pause_ms: float = 0
    burst: int = 1

    @property
    def model(self) -> str:
        """The request's model, by which the upstream knows (see upstream.c)."""
        if self.events is None:
            return f"bench/j{self.text}"
        return f"bench/e{self.events}-p{round(self.pause_ms * 1000)}-s{self.text}-b{self.burst}"


@dataclass(frozen=True)
class Load:
    """See load.c. `body_bytes`: how long a request is, at least."""

    answer: Answer
    connections: int = 1
    body_bytes: int = 400
    rate: float = 0
    volley: bool = False
    fresh: bool = False
    spread: float = 0

    def body(self) -> bytes:
        asked: dict[str, Any] = {"model": self.answer.model}
        if self.answer.events is not None:
            asked["stream"] = True
        asked["input"] = f"{self.answer.model} "  # for a peer that asks its upstream for a model of another name
        asked["input"] += "x" * max(1, self.body_bytes - len(json.dumps(asked)))
        return json.dumps(asked).encode()

    def options(self) -> list[str]:
        chosen = ["--connections", str(self.connections)]
        if self.answer.events is not None:
            chosen += ["--events", str(self.answer.events)]
        if self.rate:
            chosen += ["--rate", str(self.rate)]
        if self.spread:
            chosen += ["--spread", str(self.spread)]
        return chosen + ["--volley"] * self.volley + ["--fresh"] * self.fresh


@dataclass(frozen=True)
class Window:
    """What load.c tells, in nanoseconds. `cpu`: the subject's; `upstream_cpu`, `load_cpu`: of the other core;
    `machine_cpu`: everybody's on all cores."""

    seconds: float
    requests: int
    unfinished: int
    failed: int
    complaint: str
    cpu: int
    upstream_cpu: int
    load_cpu: int
    machine_cpu: int
    latency: dict[str, int]
    first_byte: dict[str, int]
    delay: dict[str, int]

    @property
    def void(self) -> str | None:
        """Why this window counts for nothing, or None."""
        if self.failed:
            return f"{self.failed} failed ({self.complaint})"
        if not (self.requests or self.delay["count"] or self.first_byte["count"]):
            return "nothing was answered"
        return None

    def figures(self) -> Figures:
        """By name, in milliseconds and microseconds: what this window has seen, and nothing that it has not."""
        found = {"busy": self.busy, "load_busy": self.load_busy, "others": self.others}
        found["unfinished"] = float(self.unfinished)
        for what, count in (("request", self.requests), ("event", self.delay["count"])):
            if count:
                found[f"{what}s_per_second"] = count / self.seconds
                found[f"cpu_us_per_{what}"] = self.cpu / 1e3 / count
        for name, histogram in (("", self.latency), ("first_byte_", self.first_byte), ("delay_", self.delay)):
            found |= _quantiles(name, histogram)
        return found

    @property
    def busy(self) -> float:
        """How much of its core the subject had."""
        return self.cpu / self.seconds / 1e9

    @property
    def load_busy(self) -> float:
        return (self.upstream_cpu + self.load_cpu) / self.seconds / 1e9

    @property
    def others(self) -> float:
        """So many cores did other things meanwhile: the figures are no better than this is small."""
        return max(0.0, self.machine_cpu / self.seconds / 1e9 - self.busy - self.load_busy)


def parse(text: str, *, subjects: int) -> Window:
    """`subjects`: so many of the watched processes are the subject's; the next one is the upstream."""
    told = json.loads(text)
    cpu: list[int] = told["cpu"]
    return Window(
        seconds=told["window"] / 1e9,
        requests=told["requests"],
        unfinished=told["unfinished"],
        failed=sum(told["failed"].values()),
        complaint=told["complaint"],
        cpu=sum(cpu[:subjects]),
        upstream_cpu=cpu[subjects],
        load_cpu=told["own_cpu"],
        machine_cpu=told["machine_cpu"],
        latency=told["latency"],
        first_byte=told["first_byte"],
        delay=told["delay"],
    )


def _quantiles(name: str, histogram: dict[str, int]) -> Figures:
    """In milliseconds; nothing where nothing was seen."""
    if not histogram["count"]:
        return {}
    return {f"{name}{quantile}_ms": histogram[quantile] / 1e6 for quantile in ("p50", "p99")}


@dataclass(frozen=True)
class Target:
    """Where a load goes: a subject's port, the keys it takes, its processes."""

    port: int
    keys: Path
    pids: tuple[int, ...]
    path: str = "/v1/openai/responses"
    exact: bool = True  # the upstream's bytes come through; a peer may write them anew
    headers: tuple[str, ...] = ()  # what a peer must be told beside


class Loader:
    """Runs `load` against targets, with the upstream's process watched beside them."""

    def __init__(self, program: Path, upstream_pid: int, plain: Upstream, directory: Path) -> None:
        """`plain`: whom to ask how long an answer is."""
        self._program = program
        self._upstream_pid = upstream_pid
        self._plain = plain
        self._directory = directory
        self._lengths: dict[str, int] = {}

    def command(self, load: Load, target: Target, *, seconds: float = 0, warm: float = 0) -> list[str]:
        body = load.body()
        file = self._directory / f"{hashlib.sha256(body).hexdigest()[:16]}.json"
        file.write_bytes(body)
        watched = [text for pid in (*target.pids, self._upstream_pid) for text in ("--watch", str(pid))]
        exact = ["--bytes", str(self._length(body, load))] if target.exact and load.answer.events is None else []
        return [
            *(str(self._program), "--port", str(target.port), "--path", target.path, "--keys", str(target.keys)),
            *("--body", str(file), "--seconds", str(seconds), "--warm", str(warm)),
            *(*load.options(), *exact, *(text for line in target.headers for text in ("--header", line)), *watched),
        ]

    def start(self, load: Load, target: Target, *, seconds: float, warm: float) -> subprocess.Popen[str]:
        command = self.command(load, target, seconds=seconds, warm=warm)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def run(self, load: Load, target: Target, *, seconds: float, warm: float) -> Window:
        running = self.start(load, target, seconds=seconds, warm=warm)
        return self.end(running, target, seconds + warm)

    def end(self, running: subprocess.Popen[str], target: Target, seconds: float) -> Window:
        """Raises: `TimeoutExpired`, `ChildProcessError`."""
        with running:  # waits for it, whatever happens: else it is a dead child until the bench ends, and then init's
            try:
                out, _ = running.communicate(timeout=seconds + 2 * LINGER_SECONDS + PATIENCE_SECONDS)
            finally:
                running.kill()
        if running.returncode != 0:
            raise ChildProcessError("the load did not run: see above")
        return parse(out, subjects=len(target.pids))

    def _length(self, body: bytes, load: Load) -> int:
        """How long the upstream's own answer is."""
        model = load.answer.model
        if model not in self._lengths:
            self._lengths[model] = len(self._plain.ask(body))
        return self._lengths[model]
