"""Where tests write: in memory, where there is room for it.

A ledger that opens and closes waits ten times for its disk, and on a machine whose disk has other things to do this
takes longer than the rest of most tests. What a power cut would leave is told from the system calls, not from a disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")

# What a run holds at once is a tenth of it; containers often have 64 MB there.
ROOM_BYTES = 2 * 1024**3


def _in_memory() -> bool:
    return os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES


# For `tempfile`, whose own place is None.
SCRATCH = os.environ.get("PYTEST_DEBUG_TEMPROOT") or (str(MEMORY) if _in_memory() else None)
