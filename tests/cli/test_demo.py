"""`irg demo` as a stranger meets it: a process, its page, its ready line, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.simulator.bill import Bill
from tests.processes import gone

pytestmark = pytest.mark.scenario  # whole processes, seconds each

ROOT = Path(__file__).parents[2]
PROC = Path("/proc/self/stat")
READY_SECONDS_MAX = 3.0

# What a machine may be set to; the demo must care for none of it.
FOREIGN_SETTINGS = {
    "IMAGEROUTER_API_KEY": "a-real-key-0123456789-CANARY",
    "IRG_UPSTREAM_URL": "https://api.imagerouter.io",
    "IRG_PORT": "tcp://10.0.0.1:80",
    "IRG_MISSPELT": "1",
}


class Started:
    """A demo that is starting, in a temporary directory of its own."""

    def __init__(self, process: subprocess.Popen[str], temporary: Path) -> None:
        self.process = process
        self.temporary = temporary

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, told = self.process.communicate(timeout=20)
            raise AssertionError(f"it ended with {self.process.returncode} and said: {told}")
        return line

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit code, the rest of stdout, stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass(frozen=True)
class Demo:
    """A ready one."""

    started: Started
    told: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.told["url"])

    def secret(self, name: str = "alice") -> str:
        return str({key["name"]: key["secret"] for key in self.told["keys"]}[name])

    def post(self, secret: str, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {secret}"}
        url = f"{self.url}/v1/openai/responses"
        return httpx.post(url, json={"input": "Say hello", **body}, headers=headers, trust_env=False)

    def admin(self, path: str) -> Any:
        headers = {"authorization": f"Bearer {self.told['admin_token']}"}
        return httpx.get(f"{self.url}/admin/v1/{path}", headers=headers, trust_env=False).raise_for_status().json()


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled modules, shared by these processes: an installed machine has them already."""
    return tmp_path_factory.mktemp("bytecode")


@contextlib.contextmanager
def starting(directory: Path, bytecode: Path, *arguments: str, **environment: str) -> Iterator[Started]:
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode), "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-m", "app", "demo", *arguments],
        cwd=directory,
        env=kept | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Started(process, temporary)
        finally:
            if process.poll() is None:
                process.kill()


@contextlib.contextmanager
def ready(directory: Path, bytecode: Path, *arguments: str, **environment: str) -> Iterator[Demo]:
    with starting(directory, bytecode, "--port", "0", "--json", *arguments, **environment) as started:
        yield Demo(started, json.loads(started.line()))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Iterator[Demo]:
    """One for the tests that only look at it, on a machine whose settings are all wrong."""
    directory = tmp_path_factory.mktemp("demo")
    (directory / ".env").write_text("IRG_ALSO_MISSPELT=1\n")
    (directory / "config").mkdir()
    (directory / "config" / "gateway.toml").write_text("no = [toml")
    with ready(directory, bytecode, **FOREIGN_SETTINGS) as running:
        yield running


def wait_until(condition: Any, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(held)


def test_the_ready_line_has_everything_a_script_needs(demo: Demo) -> None:
    """And nothing of the machine's own settings was used."""
    assert {"url", "upstream_url", "admin_token", "keys", "pid"} <= demo.told.keys()
    assert [key["name"] for key in demo.told["keys"]] == ["alice", "bob", "ci-bot"]
    assert demo.told["pid"] == demo.started.process.pid
    assert demo.told["upstream_url"].startswith("http://127.0.0.1:")
    keys = {key["name"]: key["team"] for key in demo.admin("keys")["items"]}
    assert keys == {"alice": "research", "bob": "research", "ci-bot": "automation"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_answered_and_its_cost_is_in_the_ledger(demo: Demo, stream: bool) -> None:
    """The documented example, exactly, as soon as the end is seen."""
    answer = demo.post(demo.secret(), model="sim/seed", stream=stream)
    assert answer.status_code == 200
    row = demo.admin(f"requests/{answer.headers['x-irg-request-id']}")
    assert (row["key"], row["state"], row["true_cost"], row["charged"]) == ("alice", "settled", "0.0000123", "0.0001")


def test_the_ledger_agrees_with_the_bill(demo: Demo) -> None:
    """Row by row, with the bill that another process keeps."""
    for number in range(6):
        demo.post(demo.secret("bob"), model="openai/gpt-5-mini", input=f"Question {number}", stream=bool(number % 2))
    listed = demo.admin("requests?key=bob&limit=1000")["items"]
    invented = [row for row in listed if row["response_id"] and row["response_id"].startswith("resp_invented")]
    rows = [row for row in listed if row["state"] == "settled" and row not in invented]
    bill = Bill.read(demo.told["bill"])
    assert len(invented) > 100  # the weeks before
    assert len(rows) >= 6
    for row in rows:
        billed = bill.line(row["response_id"])
        assert (row["true_cost"], row["charged"]) == (format(billed.true_cost, "f"), format(billed.charged, "f"))
        assert row["usage"]["total_tokens"] == billed.total_tokens


def test_a_wrong_path_is_told_the_right_url(demo: Demo) -> None:
    """With the port that was found, not the one that was asked for."""
    answer = httpx.get(f"{demo.url}/v1/nothing", trust_env=False)
    assert f"{demo.url}/v1/openai" in answer.json()["error"]["message"]


def test_the_team_is_at_work(demo: Demo) -> None:
    """Requests that nobody here made keep coming, a few a second at most."""
    first = demo.admin("usage")["total"]["requests"]
    assert wait_until(lambda: demo.admin("usage")["total"]["requests"] >= first + 2)


def test_a_taken_port_is_a_clear_error(demo: Demo, tmp_path: Path, bytecode: Path) -> None:
    """Exit 1, a sentence that names the mend, nothing left behind."""
    port = demo.url.rpartition(":")[2]
    with starting(tmp_path, bytecode, "--port", port) as started:
        out, err = started.process.communicate(timeout=30)
        assert (started.process.returncode, out) == (1, "")
        assert f"127.0.0.1:{port}" in err
        assert "--port" in err
        assert "Traceback" not in err
        assert list(started.temporary.iterdir()) == []


def test_the_page_can_be_copied_from(tmp_path: Path, bytecode: Path) -> None:
    """Its curl command and its Python snippet work as they stand; a directory that is kept stays."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with starting(tmp_path, bytecode, "--port", port, "--keep", "kept") as started:
        page = started.line()
        while "requests tail" not in page:
            page += started.line() or pytest.fail(f"the page ends early: {page}")
        assert f"http://127.0.0.1:{port}" in page
        if shutil.which("curl") or os.environ.get("CI"):
            command = _paragraph(page, "With curl")
            told = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30, check=True).stdout
            assert json.loads(told)["status"] == "completed"
        said = subprocess.run(
            [sys.executable, "-c", _paragraph(page, "With Python")],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        assert said.startswith("Simulated answer to: Say hello")
        code, _, err = started.end(signal.SIGINT)
        assert (code, err) == (0, "")
    assert {"demo.db", "demo-bill.jsonl", "demo.log"} <= {path.name for path in (tmp_path / "kept").iterdir()}


def _paragraph(page: str, title: str) -> str:
    """The indented lines under a title, without their indent."""
    match = re.search(rf"^{title}.*\n((?:(?:  .*)?\n)+)", page, re.MULTILINE)
    assert match is not None, page
    return re.sub(r"^  ", "", match[1], flags=re.MULTILINE)


def test_it_can_be_reached_from_outside_when_told_to(tmp_path: Path, bytecode: Path) -> None:
    """On every address, as a container needs it; the URL that is told stays one that can be opened."""
    with ready(tmp_path, bytecode, "--host", "0.0.0.0") as demo:
        port = demo.url.rpartition(":")[2]
        assert demo.url == f"http://localhost:{port}"
        assert httpx.get(f"http://127.0.0.2:{port}/readyz", trust_env=False).status_code == 200
        assert demo.post(demo.secret(), model="sim/seed").status_code == 200


@pytest.mark.skipif(not PROC.exists(), reason="reads /proc to see whether a process lives")
def test_a_signal_ends_everything(tmp_path: Path, bytecode: Path) -> None:
    """Exit 0, no traceback, no child, no directory. (SIGINT: the page's test ends so.)"""
    with ready(tmp_path, bytecode) as running:
        (child,) = running.started.children()
        code, out, err = running.started.end(signal.SIGTERM)
        assert (code, out, err) == (0, "", "")
        assert gone(child)
        assert list(running.started.temporary.iterdir()) == []


@pytest.mark.skipif(not PROC.exists(), reason="reads /proc to see whether a process lives")
def test_a_kept_demo_goes_on_after_a_kill(tmp_path: Path, bytecode: Path) -> None:
    """kill -9 leaves no child; the next start knows the rows, has new secrets, and the old ones are refused."""
    with ready(tmp_path, bytecode, "--keep", "kept") as first:
        (child,) = first.started.children()
        assert first.post(first.secret(), model="sim/seed").status_code == 200
        first.started.process.kill()
        assert wait_until(lambda: gone(child))
    with ready(tmp_path, bytecode, "--keep", "kept") as second:
        assert second.admin("usage?by=key")["total"]["requests"] >= 1
        assert second.post(second.secret(), model="sim/seed").status_code == 200
        assert second.post(first.secret(), model="sim/seed").status_code == 401


@pytest.mark.skipif(not PROC.exists(), reason="reads /proc to see whether a process lives")
def test_a_signal_during_the_start_leaves_nothing(tmp_path: Path, bytecode: Path) -> None:
    """As soon as there is a child to leave behind."""
    with starting(tmp_path, bytecode, "--port", "0", "--json") as started:
        assert wait_until(started.children)
        (child,) = started.children()
        code, out, err = started.end()
        assert (code, out, err) == (0, "", "")
        assert gone(child)
        assert list(started.temporary.iterdir()) == []


@pytest.mark.long
def test_the_demo_is_ready_in_three_seconds(tmp_path: Path, bytecode: Path) -> None:
    """Once installed; the best of three, since the machine has other things to do."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        with ready(tmp_path, bytecode) as running:
            took.append(time.monotonic() - began)
            running.started.end()
    assert min(took) < READY_SECONDS_MAX
