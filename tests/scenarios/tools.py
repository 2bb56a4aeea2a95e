"""The installed clients: where they are, and how a script runs with one of them.

`.ci/clients` installs them, outside of this repository. A missing one is a failed test.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLIENTS = Path(__file__).parent / "clients"
TOOLS = Path(os.environ.get("TEST_TOOLS") or Path.home() / ".cache/irg-tests")

RUN_SECONDS_MAX = 90.0


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """What was printed by a client that ended well."""
        assert self.code == 0, self.err[-3000:] + self.out[-1000:]
        return self.out

    @property
    def json(self) -> Any:
        """The last line printed."""
        return json.loads(self.text.splitlines()[-1])


def installed(path: str) -> Path:
    """A file below the tools' directory."""
    found = TOOLS / path
    assert found.exists(), f"{found} is missing: run .ci/clients"
    return found


def python(environment: str | None) -> Path:
    """The interpreter of an environment of `clients/python.txt`; None = the project's own."""
    return Path(sys.executable) if environment is None else installed(f"{environment}/bin/python")


def node_bench(directory: Path, **aliases: str) -> Path:
    """A new directory with all client scripts, where `import` finds the installed packages; `openai="openai-5"`
    makes one of them answer to another name."""
    bench = Path(tempfile.mkdtemp(dir=directory))
    modules = bench / "node_modules"
    modules.mkdir()
    packages = {path.name: path for path in installed("node/node_modules").iterdir() if not path.name.startswith(".")}
    packages |= {name: installed(f"node/node_modules/{package}") for name, package in aliases.items()}
    for name, path in packages.items():
        (modules / name).symlink_to(path)
    for script in [*CLIENTS.glob("*.mjs"), *CLIENTS.glob("snippets/*.mjs")]:
        shutil.copy(script, bench)
    return bench


def node() -> str:
    found = shutil.which("node")
    assert found is not None, "node is missing"
    return found


async def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> Ran:
    """Runs a client to its end, with nothing of this machine's keys and proxies; bounded in time."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=kept | {"HOME": str(cwd), "PYTHONPATH": str(ROOT)} | dict(environment or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS_MAX):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
