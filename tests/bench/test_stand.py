"""A short run of the bench itself, with whole processes: every kind of subject and case answers, and none is void."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.bench.cases import CASES, EVERYBODY, WHOLE_ANSWERS_ONLY, Case
from tests.bench.machine import cores, family, nginx
from tests.bench.programs import build
from tests.bench.rounds import run
from tests.bench.stand import Stand
from tests.bench.windows import Answer, Load
from tests.processes import gone
from tests.scenarios.tools import ROOT

pytestmark = pytest.mark.scenario

NAMES = [
    "JSON, 16 connections",
    "SSE, 100 streams, 5 ms apart",
    "100 streams opened at once, on new connections",
    "request of 100 KB, 16 connections",
    "small requests beside a 10 MB body",
    "TLS upstream, JSON, 64 connections",
]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with contextlib.closing(Stand(build(), cores(), tmp_path_factory.mktemp("bench"))) as one:
        yield one


def checked(stand: Stand, case: Case) -> None:
    found = run(stand, case, rounds=1, seconds=0.2, first_warm_seconds=0)
    assert found.missing == {}
    for name in case.subjects:
        assert found.void(name) == []
        assert found.median(name, "requests_per_second") != 0.0, name


@pytest.mark.parametrize("name", NAMES)
def test_a_case_runs(stand: Stand, name: str) -> None:
    """nginx and the gateway answer all that is asked of them, and nothing is odd."""
    assert nginx() is not None, "nginx is missing: see .ci/packages"
    checked(stand, next(case for case in CASES if case.name == name))


def test_every_subject_answers_json_and_streams(stand: Stand) -> None:
    """The gateway in each of its kinds, and the references; some know no streams."""
    others = {"JSON, 16 connections": WHOLE_ANSWERS_ONLY, "SSE, 16 streams, no pause": ()}
    for name, more in others.items():
        case = next(case for case in CASES if case.name == name)
        checked(stand, replace(case, subjects=(*EVERYBODY, *more)))


def test_streams_are_held_open(stand: Stand) -> None:
    """A thousand idle ones at once: each had its first event, and what they take is told."""
    case = next(case for case in CASES if case.kind == "held")
    load: Load = replace(case.load, connections=1000)
    found = run(stand, replace(case, load=load, subjects=("gateway",)), rounds=1, seconds=0.2, first_warm_seconds=0)
    assert found.void("gateway") == []
    assert found.median("gateway", "streams") == 1000
    kib = found.median("gateway", "kib_per_stream")
    assert kib is not None
    assert 1 < kib < 1000


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nginx there is no limit to compare with, and the bench says so."""
    programs = build()
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with contextlib.closing(Stand(programs, cores(), tmp_path)) as other:
        found = run(other, replace(CASES[0], subjects=("nginx",)), rounds=1, seconds=0.1)
    assert "nginx is not installed" in found.missing["nginx"]
    assert found.figures == {}


def test_a_gateway_that_makes_no_keys_is_not_left_running(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take its part of the core that the next subject is measured on."""

    def none(port: int, limits: object) -> list[str]:
        raise ConnectionError("no answer")

    stand.upstream()
    before = set(family(os.getpid()))
    monkeypatch.setattr("tests.bench.gateways._keys", none)
    with pytest.raises(ConnectionError), stand.fresh("gateway"):
        pass
    assert set(family(os.getpid())) <= before


def test_a_load_that_is_waited_for_no_more_is_ended(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """And buried: it is nobody's dead child when the bench has ended."""
    loader = stand.loader()
    running = loader.start(Load(Answer()), stand.subject("gateway").target, seconds=60, warm=0)
    monkeypatch.setattr(running, "communicate", Mock(side_effect=SystemExit(143)))
    with pytest.raises(SystemExit):
        loader.end(running, stand.subject("gateway").target, 60)
    assert not Path(f"/proc/{running.pid}").exists()


def test_what_nobody_knows_of_is_ended_too() -> None:
    """As a subject that was being begun when the signal came, with what it has begun itself."""
    program = (
        "import os, subprocess\n"
        "from tests.bench.machine import end_descendants, family\n"
        "begun = subprocess.Popen(['sh', '-c', 'sleep 60 & echo; wait'], stdout=subprocess.PIPE)\n"
        "begun.stdout.readline()\n"
        "print(*family(os.getpid())[1:], flush=True)\n"
        "end_descendants()\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    pids = told.stdout.split()
    assert len(pids) == 2
    assert [pid for pid in pids if not gone(int(pid))] == []


def test_a_bench_that_is_ended_leaves_nothing_running(tmp_path: Path) -> None:
    """SIGTERM, as `timeout` sends it, in the middle of a window: subjects, upstream and load end with it."""
    command = [sys.executable, "-m", "tests.bench", "json", "--connections", "16", "--seconds", "60"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as bench:
        began = time.monotonic()
        while len(started := family(bench.pid)) < 5 and time.monotonic() < began + 60:  # itself, upstream, two, load
            time.sleep(0.05)
        bench.terminate()
        assert bench.wait(60) == 143
    assert len(started) == 5
    assert [pid for pid in started if not gone(pid)] == []
    assert list(tmp_path.iterdir()) == []
