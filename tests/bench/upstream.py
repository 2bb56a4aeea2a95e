"""The bench's upstream as a process: plain, and over TLS where OpenSSL was there to build with."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.scenarios.tools import ROOT

CERTIFICATES = ROOT / "tests/certificates"

CA_FILE = CERTIFICATES / "ca.pem"


class Upstream:
    """Listens from its making to its end; use as a context manager."""

    def __init__(self, program: Path, *, tls: bool = False) -> None:
        files = ["--tls", str(CERTIFICATES / "server.pem"), str(CERTIFICATES / "server.key")] if tls else []
        self._process = subprocess.Popen(
            [str(program), *files], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        told = self._process.stdout.readline().split()
        if told[:1] != ["listening"]:
            raise ChildProcessError("the bench's upstream did not start: see above")
        self.port = int(told[1])
        self.pid = self._process.pid
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"

    def ask(self, body: bytes) -> bytes:
        """One answer of a plain one, whole."""
        request = urllib.request.Request(self.url + "/v1/openai/responses", data=body)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
