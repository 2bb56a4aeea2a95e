"""Runs `irg` as a shell would see it: in this process (quick), or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from app.cli import app
from app.cli.frame import guarded


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def cells(self) -> list[list[str]]:
        """A piped table."""
        assert self.code == 0, self.err
        return [line.split("\t") for line in self.out.splitlines()]


class _Stream(io.TextIOWrapper):
    def __init__(self, *, terminal: bool, content: str = "") -> None:
        super().__init__(io.BytesIO(content.encode()), encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def irg(*arguments: str, typed: str | None = None, terminal: bool = False) -> Ran:
    """In this process. `typed`: a person sits at a terminal and types this; `terminal`: stdout is one."""
    out, err = _Stream(terminal=terminal), _Stream(terminal=terminal)
    stdin = _Stream(terminal=typed is not None, content=typed or "")
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(sys, "stdin", stdin):
        try:
            guarded(lambda: app(args=list(arguments), prog_name="irg"))
        except SystemExit as ended:
            code = ended.code
    return Ran(int(code or 0), out.text(), err.text())


async def spawn(directory: Path, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """As a process of its own, in a directory, with nothing of the machine's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IRG_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        *arguments,
        cwd=directory,
        env=kept | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def irg_process(directory: Path, *arguments: str, **environment: str) -> Ran:
    async with asyncio.timeout(60):
        process = await spawn(directory, *arguments, **environment)
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
