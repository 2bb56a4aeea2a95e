"""The C programs of the bench: they build, the upstream answers as it is asked, the load notices every odd answer."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.programs import Programs, build
from tests.bench.upstream import Upstream
from tests.bench.windows import Answer, Load, Loader, Target

pytestmark = pytest.mark.skipif(shutil.which("cc") is None and not os.environ.get("CI"), reason="no C compiler")


@pytest.fixture(scope="module")
def programs() -> Programs:
    return build()


@pytest.fixture(scope="module")
def upstream(programs: Programs) -> Iterator[Upstream]:
    with Upstream(programs.upstream) as running:
        yield running


@pytest.fixture
def loader(programs: Programs, upstream: Upstream, tmp_path: Path) -> Loader:
    return Loader(programs.load, upstream.pid, upstream, tmp_path)


@pytest.fixture
def target(upstream: Upstream, tmp_path: Path) -> Target:
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo")
    return Target(upstream.port, keys, (upstream.pid,))


def test_an_answer_is_one_of_imagerouters_and_as_long_as_asked(upstream: Upstream) -> None:
    """Costs in both places, an id that is never given twice."""
    first, second = (json.loads(upstream.ask(Load(Answer(text=5000)).body())) for _ in range(2))
    assert first["output"][0]["content"][0]["text"] == "x" * 5000
    assert (first["usage"]["cost"], first["cost"]) == (0.0000123, 0.0001)
    assert first["id"] != second["id"]


def test_small_answers_differ_as_those_of_a_real_upstream_do(upstream: Upstream) -> None:
    """Ids in no order and costs of many values: what a ledger puts into its indices."""
    answers = [json.loads(upstream.ask(Load(Answer()).body())) for _ in range(20)]
    ids, costs = [answer["id"] for answer in answers], [answer["usage"]["cost"] for answer in answers]
    assert len(set(ids)) == 20
    assert ids != sorted(ids)
    assert len(set(costs)) > 5
    assert all(0.00001 <= cost <= 0.0000999 for cost in costs)


def test_a_stream_counts_its_events_and_ends_with_its_cost(upstream: Upstream) -> None:
    """Sequence numbers without a gap, a due time in each delta, the completed event last."""
    text = upstream.ask(Load(Answer(events=30, text=10, pause_ms=1)).body()).decode()
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert [event["sequence_number"] for event in events] == list(range(34))
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    dues = [int(delta[1:20]) for delta in deltas]
    assert [delta[20:] for delta in deltas] == [f".{number:08d} {'x' * 10}" for number in range(30)]
    assert {later - earlier for earlier, later in itertools.pairwise(dues)} == {1_000_000}
    assert events[-1]["type"] == "response.completed"
    assert 0.00001 <= events[-1]["response"]["usage"]["cost"] <= 0.0000999


def test_connections_can_ask_for_the_first_time_one_after_the_other(loader: Loader, target: Target) -> None:
    """The window waits for all of them: the last of five begins four fifths of the time later than the first."""
    began = time.monotonic()
    window = loader.run(Load(Answer(), connections=5, spread=1.0), target, seconds=0.1, warm=0)
    assert time.monotonic() - began > 0.8
    assert window.void is None


@pytest.mark.parametrize(
    "load",
    [
        Load(Answer(), connections=5),
        Load(Answer(text=3_000_000), connections=2),
        Load(Answer(), connections=2, body_bytes=10_000_000),
        Load(Answer(), connections=4, rate=500),
        Load(Answer(events=50), connections=5),
        Load(Answer(events=40, burst=16, text=300), connections=3),
        Load(Answer(events=5, pause_ms=2), connections=5),
        Load(Answer(events=5, pause_ms=2), connections=5, spread=0.1),
        Load(Answer(events=3), connections=20, volley=True),
        Load(Answer(events=3), connections=20, volley=True, fresh=True),
    ],
    ids=lambda load: " ".join(load.options()) + load.answer.model,
)
def test_a_window_counts_whole_answers(loader: Loader, target: Target, load: Load) -> None:
    """Requests of every size, streams of every kind: answered to their end, none failed."""
    window = loader.run(load, target, seconds=0.3, warm=0.1)
    assert window.void is None
    assert window.requests > 0
    assert window.unfinished == 0
    assert window.latency["count"] == window.requests
    if load.answer.events is not None:
        assert window.delay["count"] >= window.requests
    assert 0 < window.latency["p50"] <= window.latency["p99"] * 1.01
    assert window.cpu > 0


@pytest.mark.parametrize("options", [["--events", "49"], ["--events", "51"], ["--bytes", "7"]])
def test_an_odd_answer_voids_the_window(loader: Loader, target: Target, options: list[str], tmp_path: Path) -> None:
    """A stream with an event too many or too few, a body that is longer than told: counted as failed, and said."""
    answer = Answer(events=50) if "--events" in options else Answer()
    command = loader.command(Load(answer), target, seconds=0.1)
    cut = [part for part in command if part not in ("--events", "--bytes")]
    values = [command[command.index(name) + 1] for name in ("--events", "--bytes") if name in command]
    for value in values:
        cut.remove(value)
    told = json.loads(subprocess.run([*cut, *options], capture_output=True, text=True, check=True, timeout=60).stdout)
    assert told["failed"]["odd"] > 0
    assert told["requests"] == 0
    assert "not what it must be" in told["complaint"]


def test_nobody_there_voids_the_window(loader: Loader, target: Target) -> None:
    """Refused connections are failures, not silence."""
    window = loader.run(Load(Answer()), Target(9, target.keys, target.pids), seconds=0.1, warm=0)
    assert window.void is not None
