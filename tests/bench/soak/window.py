"""`irg serve` with a window into it: what its process holds, told to whoever connects to a Unix socket.

    python -m tests.bench.soak.window SOCKET serve …

For soaks alone. A thread answers each connection with one line of JSON (`Holds`), after a collection of garbage: so it
shows what is kept, not what waits to be collected.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from app.cli import main


@dataclass(frozen=True)
class Holds:
    """`blocks`: pieces of memory that Python's allocator has given out. `objects`: those that its collector knows."""

    blocks: int
    tasks: int
    threads: int
    objects: dict[str, int]


def holds() -> Holds:
    for _ in range(3):  # what a collection ends may let go of more
        gc.collect()
    objects = gc.get_objects()
    tasks = sum(isinstance(one, asyncio.Task) and not one.done() for one in objects)
    kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in objects)
    del objects
    return Holds(sys.getallocatedblocks(), tasks, threading.active_count(), dict(kinds))


def answer(listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(json.dumps(asdict(holds())).encode() + b"\n")


def look(path: Path) -> Holds:
    """What a process with a window holds now."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(60)
        asking.connect(str(path))
        with asking.makefile("rb") as told:
            return Holds(**json.loads(told.readline()))


if __name__ == "__main__":
    window = socket.socket(socket.AF_UNIX)
    window.bind(sys.argv.pop(1))
    window.listen()
    threading.Thread(target=answer, args=(window,), daemon=True).start()
    main()
