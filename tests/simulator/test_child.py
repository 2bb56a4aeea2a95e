"""The simulator's process: how it says that it is ready, and that it never outlives its parent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from app.simulator.child import SimulatorChild
from app.simulator.serve import main
from tests.processes import gone

# A parent that starts a simulator, says both pids, and waits to be killed.
PARENT = """
import sys, time
from pathlib import Path
from app.simulator.child import SimulatorChild
child = SimulatorChild(Path(sys.argv[1]))
print(child.pid, child.url, flush=True)
time.sleep(60)
"""


def wait_until_gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return gone(pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc to see whether a process lives")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    """Even when the parent is killed and can tell nobody."""
    command = [sys.executable, "-c", PARENT, str(tmp_path / "bill")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        assert not gone(pid)
        parent.send_signal(number)
    assert wait_until_gone(pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc to see whether a process lives")
def test_a_grandchild_ends_too(tmp_path: Path) -> None:
    """Where a shell stands between, only watching helps: the parent to end with is not the direct one."""
    with subprocess.Popen(["sleep", "60"]) as watched:
        command = [
            sys.executable,
            "-m",
            "app.simulator",
            "--bill",
            str(tmp_path / "b"),
            "--parent-pid",
            str(watched.pid),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as simulator:
            assert simulator.stdout is not None
            assert simulator.stdout.readline()
            watched.kill()
            watched.wait()
            assert wait_until_gone(simulator.pid)


def test_a_simulator_whose_parent_is_gone_does_not_start(tmp_path: Path) -> None:
    """The race between a start and a death."""
    with subprocess.Popen(["true"]) as over:
        over.wait()
    command = [sys.executable, "-m", "app.simulator", "--bill", str(tmp_path / "b"), "--parent-pid", str(over.pid)]
    ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"")


def test_a_simulator_says_where_it_is_and_ends_orderly(tmp_path: Path) -> None:
    """One JSON line when ready; exit 0 on SIGTERM, nothing on stderr; the bill stays."""
    command = [sys.executable, "-m", "app.simulator", "--bill", str(tmp_path / "bill"), "--expected-key", "right"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as simulator:
        assert simulator.stdout is not None
        ready = json.loads(simulator.stdout.readline())
        assert (ready["pid"], ready["bill"]) == (simulator.pid, str(tmp_path / "bill"))
        body = {"model": "sim/seed", "input": "?"}
        statuses = [
            httpx.post(
                f"{ready['url']}/v1/openai/responses",
                json=body,
                headers={"authorization": f"Bearer {key}"},
                trust_env=False,
            ).status_code
            for key in ("right", "wrong")
        ]
        assert statuses == [200, 401]
        simulator.terminate()
        _, errors = simulator.communicate(timeout=10)
    assert (simulator.returncode, errors) == (0, b"")
    assert (tmp_path / "bill").read_bytes().count(b"\n") == 1


def test_the_bill_of_a_child_that_nobody_asked_yet_is_empty(tmp_path: Path) -> None:
    """Who reads it first waits until there is one."""
    with SimulatorChild(tmp_path / "bill") as child:
        assert child.bill().answers == ()


def test_a_taken_port_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 and a sentence."""
    with SimulatorChild(tmp_path / "bill") as running:
        port = running.url.rpartition(":")[2]
        assert main(["--port", port, "--bill", str(tmp_path / "other")]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_bill_that_cannot_be_kept_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, before anything listens."""
    assert main(["--bill", str(tmp_path / "nowhere" / "bill")]) == 1
    (tmp_path / "letter").write_text("Dear all,\n")
    assert main(["--bill", str(tmp_path / "letter")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("cannot write the bill")
    assert second.endswith("is not a bill")


def test_a_child_that_does_not_start_is_reported(tmp_path: Path) -> None:
    """Instead of waiting for it."""
    with SimulatorChild(tmp_path / "nowhere" / "bill") as child, pytest.raises(ChildProcessError):
        _ = child.url
