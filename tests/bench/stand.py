"""What one run of the bench has running: upstreams and subjects, begun when first asked for, ended together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.bench.gateways import KINDS
from tests.bench.machine import Cores
from tests.bench.peers import PEERS
from tests.bench.programs import Programs
from tests.bench.subjects import NotThere, Place, Reference, Running, Starter, nginx_proxy
from tests.bench.upstream import Upstream
from tests.bench.windows import Loader

STARTERS: dict[str, Starter] = {
    "nginx": nginx_proxy,
    **KINDS,
    "tuned": Reference("tuned"),
    "naive": Reference("naive"),
    "plain": Reference("plain"),
    "spliced": Reference("spliced", on_uvicorn=False),
    "duties": Reference("duties", on_uvicorn=False),
    "duties-in-tasks": Reference("duties_in_tasks", on_uvicorn=False),
    **PEERS,
}


def starter(name: str) -> Starter:
    """`gateway`, or `gateway@DIRECTORY` for that of another checkout. Raises: `ValueError`."""
    kind, _, root = name.partition("@")
    if root and kind in KINDS and (Path(root) / "app").is_dir():
        return replace(KINDS[kind], root=Path(root).absolute())
    if name not in STARTERS:
        raise ValueError(f"unknown: {name}; there are {', '.join(STARTERS)}, and gateway@DIRECTORY")
    return STARTERS[name]


class Stand:
    """Use as `with contextlib.closing(Stand(…))`."""

    def __init__(self, programs: Programs, cores: Cores, directory: Path) -> None:
        self.directory = directory
        self._programs = programs
        self._cores = cores
        self._ends = contextlib.ExitStack()
        self._running: dict[tuple[str, bool], Running] = {}
        self._upstreams: dict[bool, Upstream] = {}
        self._count = 0

    def upstream(self, *, tls: bool = False) -> Upstream:
        """Raises: `NotThere`."""
        if tls not in self._upstreams:
            program = self._programs.upstream_tls if tls else self._programs.upstream
            if program is None:
                raise NotThere("no OpenSSL to build the TLS upstream with: install libssl-dev")
            self._upstreams[tls] = self._ends.enter_context(Upstream(program, tls=tls))
        return self._upstreams[tls]

    def loader(self, *, tls: bool = False) -> Loader:
        """Raises: `NotThere`."""
        return Loader(self._programs.load, self.upstream(tls=tls).pid, self.upstream(), self.directory)

    def subject(self, name: str, *, tls: bool = False) -> Running:
        """The one that runs already, or a new one. Raises: `NotThere`, `ChildProcessError`."""
        if (name, tls) not in self._running:
            self._running[name, tls] = self._start(name, tls=tls)
            self._ends.callback(self._running[name, tls].end)
        return self._running[name, tls]

    @contextlib.contextmanager
    def fresh(self, name: str) -> Iterator[Running]:
        """One of its own, killed in the end. Raises: `NotThere`, `ChildProcessError`."""
        running = self._start(name, tls=False)
        try:
            yield running
        finally:
            running.kill()

    def close(self) -> None:
        self._ends.close()

    def _start(self, name: str, *, tls: bool) -> Running:
        upstream = self.upstream(tls=tls)
        self._count += 1
        directory = self.directory / str(self._count)
        directory.mkdir(parents=True)
        return starter(name)(Place(self._cores.subject, upstream, directory))
