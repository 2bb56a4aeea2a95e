"""Builds the bench's C programs (`c/`), outside of the repository, when their text is new to this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "c"
BUILT = Path(os.environ.get("TEST_TOOLS") or Path.home() / ".cache/irg-tests") / "bench"

FLAGS = ("-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror")


class CannotBuild(Exception):
    """There is no C compiler, or it refuses; the text says which."""


@dataclass(frozen=True)
class Programs:
    load: Path
    upstream: Path
    upstream_tls: Path | None  # None = no OpenSSL to build with


def build() -> Programs:
    """Raises: `CannotBuild`."""
    try:
        tls = _built("upstream", "-DBENCH_TLS", "-lssl", "-lcrypto")
    except CannotBuild:
        tls = None
    return Programs(_built("load"), _built("upstream"), tls)


def _built(name: str, *flags: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotBuild("no C compiler: install gcc")
    text = b"".join(part.read_bytes() for part in (*sorted(SOURCES.glob("*.h")), SOURCES / f"{name}.c"))
    mark = hashlib.sha256(text + repr((compiler, FLAGS, flags)).encode()).hexdigest()[:12]
    program = BUILT / f"{name}-{mark}"
    if not program.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILT) as directory:
            made = Path(directory) / name
            command = [compiler, *FLAGS, "-o", str(made), str(SOURCES / f"{name}.c"), *flags]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise CannotBuild(f"{name}.c does not build:\n{done.stderr[-2000:]}")
            made.replace(program)
    return program
