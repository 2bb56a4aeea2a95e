"""Runs the simulator as a process of its own: `python -m app.simulator`.

Started by the demo and by tests as a child (`app.simulator.child`), by people through `irg simulate`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from app.simulator.application import Simulator
from app.simulator.bill import BillFile
from app.simulator.connection import SimulatorProtocol
from app.simulator.listing import SHAPES
from app.simulator.parent import end_with


@dataclass(frozen=True, slots=True)
class Running:
    """Where a simulator listens and what it writes; the line it prints when ready."""

    url: str
    bill: str
    pid: int

    def line(self) -> str:
        return json.dumps({"url": self.url, "bill": self.bill, "pid": self.pid})


def serve(
    *,
    port: int,
    bill: Path,
    expected_key: str | None = None,
    models_shape: str = "array",
    on_ready: Callable[[Running], None],
    host: str = "127.0.0.1",
) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises: `OSError` for a taken port or a bill that cannot be written, `ValueError` for a file that is no bill.
    """
    with contextlib.closing(BillFile(bill)) as bill_file, contextlib.closing(_listen(host, port)) as listener:
        config = uvicorn.Config(
            Simulator(bill_file, expected_key=expected_key, models_shape=models_shape),
            http=SimulatorProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        # uvicorn raises a signal again when it has ended by it: an orderly exit, not a death by signal.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: sys.exit(0))
        shown_host = f"[{host}]" if ":" in host else host
        url = f"http://{shown_host}:{listener.getsockname()[1]}"
        # The socket listens already: whoever is told "ready" now is answered as soon as the loop runs.
        on_ready(Running(url, str(bill.resolve()), os.getpid()))
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno or 0)
        raise OSError(error.errno, f"cannot listen on {host}:{port} ({reason}): choose another --port") from None
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.simulator", description="ImageRouter's API, simulated.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 = any free port (default)")
    parser.add_argument("--bill", type=Path, help="append-only JSON lines; default: a file in a temporary directory")
    parser.add_argument("--expected-key", help="the only upstream key that is right; default: any")
    parser.add_argument("--models-shape", choices=SHAPES, default="array", help="how /v3/models answers")
    parser.add_argument("--parent-pid", type=int, help="end when this process ends")
    options = parser.parse_args(arguments)
    if options.parent_pid is not None:
        end_with(options.parent_pid)
    try:
        with contextlib.ExitStack() as stack:
            bill = options.bill or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="irg-bill-"))) / "bill"
            serve(
                host=options.host,
                port=options.port,
                bill=bill,
                expected_key=options.expected_key,
                models_shape=options.models_shape,
                on_ready=lambda running: print(running.line(), flush=True),
            )
    except (OSError, ValueError) as error:
        print(sentence(error), file=sys.stderr)
        return 1
    return 0


def sentence(error: OSError | ValueError) -> str:
    """What went wrong at the start, without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
