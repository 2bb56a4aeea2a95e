"""One writing process per database, and how others find it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.store.engine import open_store
from app.store.lock import DatabaseLock, Holder, lock_path, running_holder
from app.store.port import StoreLocked

HOLD = """
import sys, time
from pathlib import Path
from app.store.lock import DatabaseLock
lock = DatabaseLock(Path(sys.argv[1]))
lock.announce(Path("/run/irg.sock"), "http://127.0.0.1:8000")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def test_a_second_process_is_refused_in_words(database: Path) -> None:
    """The sentence names the process and what to do; when that one is killed, the lock is free at once."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(database)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(StoreLocked) as refused:
                DatabaseLock(database)
            sentence = str(refused.value)
            assert f"process {other.pid}" in sentence
            assert "Stop that one first" in sentence
            assert "IRG_DATABASE_URL" in sentence
            assert running_holder(database) == Holder(other.pid, Path("/run/irg.sock"), "http://127.0.0.1:8000")
        finally:
            other.send_signal(signal.SIGKILL)
            other.wait(10)
    assert running_holder(database) is None
    DatabaseLock(database).release()


async def test_a_second_store_on_one_database_is_refused(database: Path) -> None:
    """Also within one process; once closed, the next may open it."""
    first = await open_store(database)
    with pytest.raises(StoreLocked):
        await open_store(database)
    holder = running_holder(database)
    assert holder == Holder(os.getpid())
    first.announce(Path("/tmp/irg.sock"), "http://127.0.0.1:9")
    assert running_holder(database) == Holder(os.getpid(), Path("/tmp/irg.sock"), "http://127.0.0.1:9")
    await first.aclose()
    assert running_holder(database) is None
    await (await open_store(database)).aclose()


def test_nobody_holds_a_database_that_never_was(database: Path) -> None:
    assert running_holder(database) is None
    assert not lock_path(database).exists()


def test_asking_who_holds_it_does_not_get_in_the_way(database: Path) -> None:
    """Somebody who looks at the lock all the time does not make a starting gateway fail."""
    look = "import sys\nfrom pathlib import Path\nfrom app.store.lock import running_holder\nprint('on', flush=True)\n"
    look += "while True: running_holder(Path(sys.argv[1]))\n"
    DatabaseLock(database).release()
    with subprocess.Popen([sys.executable, "-c", look, str(database)], stdout=subprocess.PIPE, text=True) as looker:
        try:
            assert looker.stdout is not None
            assert looker.stdout.readline() == "on\n"
            for _ in range(20):
                DatabaseLock(database).release()
        finally:
            looker.kill()
            looker.wait(10)


def test_the_lock_file_holds_no_more_than_it_must(database: Path) -> None:
    """Pid, socket, URL; nothing else, and only its owner may read it."""
    lock = DatabaseLock(database)
    lock.announce(Path("/run/irg.sock"), "http://127.0.0.1:8000")
    told = json.loads(lock_path(database).read_bytes())
    assert told == {"pid": os.getpid(), "socket": "/run/irg.sock", "url": "http://127.0.0.1:8000"}
    assert lock_path(database).stat().st_mode & 0o777 == 0o600
    lock.release()
