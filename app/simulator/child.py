"""Starts the simulator as a child of this process and waits until it answers.

Used by the demo and by tests. The child ends with its parent, whatever ends the parent.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from app.simulator.bill import Bill

START_SECONDS_MAX = 20.0
_END_SECONDS_MAX = 5.0


class SimulatorChild:
    """A running simulator; a context manager that ends it.

    Starting is split from waiting (`url`), so that parent and child can load at the same time.
    """

    def __init__(
        self, bill_path: Path, *, port: int = 0, expected_key: str | None = None, models_shape: str = "array"
    ) -> None:
        self.bill_path = bill_path
        command = [sys.executable, "-m", "app.simulator", "--port", str(port), "--bill", str(bill_path)]
        command += ["--parent-pid", str(os.getpid()), "--models-shape", models_shape]
        command += ["--expected-key", expected_key] if expected_key is not None else []
        # A session of its own: Ctrl-C in the terminal is the parent's to handle.
        self._child = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        self._url: str | None = None

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def url(self) -> str:
        """Waits until the child listens. Raises: `ChildProcessError` when it does not."""
        if self._url is None:
            self._url = str(json.loads(self._first_line())["url"])
        return self._url

    def bill(self) -> Bill:
        """The bill as it stands, of a simulator that is ready: it makes the file. Raises: as `url`."""
        _ = self.url
        return Bill.read(self.bill_path)

    def end(self) -> None:
        """Ends the child; it may be gone already."""
        self._child.terminate()
        try:
            self._child.wait(_END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _first_line(self) -> bytes:
        out, deadline, received = self._child.stdout, time.monotonic() + START_SECONDS_MAX, b""
        if out is None:  # it is a pipe: see __init__
            raise ChildProcessError("the simulator has no output")
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(out.fileno(), 4096) if ready else b""
            if not piece:
                raise ChildProcessError("the simulator did not start; what it said stands above")
            received += piece
        return received
