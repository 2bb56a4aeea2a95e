"""The arithmetic of the bench: medians of what counts, ratios within a round, goals that nobody loses sight of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench import report
from tests.bench.cases import CASES, chosen
from tests.bench.found import Found, Void, median
from tests.bench.gateways import KINDS
from tests.bench.goals import GOALS, JSON_64, judged
from tests.bench.rounds import in_turn
from tests.bench.stand import STARTERS, starter
from tests.bench.windows import parse


def found(**rates: list[float | None]) -> Found:
    """Requests per second by round; None = a void window."""
    one = Found()
    for name, values in rates.items():
        for value in values:
            one.add(name.replace("_", "-"), Void("3 failed") if value is None else {"requests_per_second": value})
    return one


def test_a_median_is_of_what_counts() -> None:
    """Void windows are no zeros."""
    assert median([5.0, None, 1.0, 2.0]) == 2.0
    assert median([None, None]) is None
    assert median([]) is None


def test_a_ratio_is_of_windows_of_the_same_round() -> None:
    """The machine was half as quick in the second round: both were, and the ratio does not see it."""
    one = found(nginx=[100, 50, 100], gateway=[20, 10, 30])
    assert one.ratio("gateway", "nginx", "requests_per_second") == 0.2
    assert one.difference("gateway", "nginx", "requests_per_second") == -70
    assert one.median("gateway", "requests_per_second") == 20


def test_a_void_window_takes_its_round_out_of_the_ratio() -> None:
    """On either side; and it is told with its reason."""
    one = found(nginx=[100, None, 100], gateway=[20, 90, None])
    assert one.ratio("gateway", "nginx", "requests_per_second") == 0.2
    assert one.void("gateway") == ["3 failed"]
    assert "gateway: 1 windows void: 3 failed" in report.remarks(one)


def test_nothing_to_compare_with_is_no_ratio() -> None:
    """A subject that is absent, all void, or a zero to divide by."""
    one = found(nginx=[0.0], gateway=[20.0], power=[None])
    for subject, other in (("gateway", "naive"), ("gateway", "power"), ("gateway", "nginx")):
        assert one.ratio(subject, other, "requests_per_second") is None


WINDOW = {
    "window": 2_000_000_000,
    "requests": 0,
    "unfinished": 0,
    "failed": {"connect": 0, "status": 0, "short": 0, "odd": 0, "silent": 0},
    "complaint": "",
    "cpu": [400_000_000, 100_000_000, 300_000_000],
    "own_cpu": 500_000_000,
    "machine_cpu": 1_700_000_000,
    "latency": {"count": 0, "p50": 0, "p99": 0},
    "first_byte": {"count": 0, "p50": 0, "p99": 0},
    "delay": {"count": 0, "p50": 0, "p99": 0},
}


def test_one_failed_request_voids_a_window() -> None:
    """However many were answered."""
    failed = {"connect": 0, "status": 1, "short": 0, "odd": 0, "silent": 0}
    told = WINDOW | {"requests": 10_000, "failed": failed, "complaint": "refused: HTTP/1.1 503"}
    assert parse(json.dumps(told), subjects=2).void == "1 failed (refused: HTTP/1.1 503)"
    assert parse(json.dumps(WINDOW | {"requests": 1}), subjects=2).void is None


def test_a_window_without_an_answer_is_void() -> None:
    """Silence is not speed."""
    assert parse(json.dumps(WINDOW), subjects=2).void == "nothing was answered"


def test_a_window_tells_only_what_it_has_seen() -> None:
    """Processor time of all of the subject's processes for each request; no delay of events that never came."""
    latency = {"count": 1000, "p50": 2_000_000, "p99": 9_000_000}
    figures = parse(json.dumps(WINDOW | {"requests": 1000, "latency": latency}), subjects=2).figures()
    assert figures["requests_per_second"] == 500
    assert figures["cpu_us_per_request"] == 500
    assert (figures["busy"], figures["load_busy"]) == (0.25, 0.4)
    assert figures["others"] == pytest.approx(0.2)
    assert (figures["p50_ms"], figures["p99_ms"]) == (2, 9)
    assert not {"delay_p99_ms", "first_byte_p99_ms", "events_per_second"} & set(figures)


def test_every_goal_is_measured_by_a_usual_case() -> None:
    """No goal depends on a case or a subject that a plain run leaves out."""
    cases = {case.name: case for case in CASES if case.usual}
    assert {goal.case for goal in GOALS} <= set(cases)
    assert {name for case in CASES for name in case.subjects} <= set(STARTERS)
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_goal_that_was_missed_or_not_measured_is_told() -> None:
    """Neither is left out of the table."""
    some = found(nginx=[100], gateway=[21], naive=[1], tuned=[None], no_ledger=[27], power=[20])
    verdicts = {(one.goal.figure, one.goal.unit): one.verdict for one in judged({JSON_64: some})}
    assert len(verdicts) == len(GOALS)
    assert verdicts["JSON throughput at 64 connections", " of nginx"] == "reached"
    assert verdicts["the same", " times naive"] == "MISSED"
    assert verdicts["the same", " times tuned httpx"] == "not measured"
    assert verdicts["the same without a ledger", " of nginx"] == "MISSED"
    assert verdicts["`power` at 64 connections", " of `process`"] == "reached"
    assert verdicts["memory of an idle stream", " KiB"] == "not measured"


def test_a_verdict_on_a_disturbed_machine_says_so() -> None:
    """One subject that others disturbed is enough, since ratios are of two."""
    one = Found()
    one.add("nginx", {"requests_per_second": 100.0, "others": 0.01})
    one.add("gateway", {"requests_per_second": 30.0, "others": 0.7})
    first = judged({JSON_64: one})[0]
    assert first.verdict == "reached, but disturbed"
    assert any("others had 0.70" in remark for remark in report.remarks(one))


@pytest.mark.parametrize(("busy", "load_busy", "told"), [(0.8, 0.99, True), (0.99, 0.99, False), (0.8, 0.5, False)])
def test_a_limit_that_waited_for_the_load_is_told(busy: float, load_busy: float, *, told: bool) -> None:
    """nginx is the limit only if it had its whole core."""
    one = Found()
    one.add("nginx", {"requests_per_second": 1.0, "busy": busy, "load_busy": load_busy})
    assert any("could do more" in remark for remark in report.remarks(one)) is told


def test_what_was_found_is_kept_and_read_again() -> None:
    """With void windows and absent subjects."""
    one = found(nginx=[100, None], gateway=[20, 30])
    one.missing["naive"] = "no httpx"
    assert Found.from_json(json.loads(json.dumps(one.as_json()))) == one


def test_results_are_written_between_their_marks(tmp_path: Path) -> None:
    """What others wrote around them stays; a second writing replaces the first."""
    path = tmp_path / "RESULTS.md"
    path.write_text(f"# Before\n\n{report.BEGIN}\nold\n{report.END}\n\n# After\n")
    some = {JSON_64: ("json", found(nginx=[100], gateway=[21]))}
    for _ in range(2):
        report.write(report.section(some, ["a machine"], "the command"), path)
    text = path.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("# After\n")
    assert text.count("### JSON, 64 connections") == 1
    assert "| gateway | 21 |" in text
    assert "| JSON throughput at 64 connections | ≥ 0.2 of nginx | 0.21 of nginx | reached |" in text
    assert "old" not in text


def test_cases_are_chosen_by_group_and_number() -> None:
    """A number that no case has makes one of its own; nothing to choose is a mistake."""
    assert len(chosen([], connections=None, pause_ms=None, every=False)) == sum(case.usual for case in CASES)
    assert [case.name for case in chosen(["json"], connections=64, pause_ms=None, every=False)] == [JSON_64]
    assert [case.name for case in chosen(["json"], connections=7, pause_ms=None, every=False)] == [
        "JSON, 7 connections"
    ]
    unusual = chosen(["sse"], connections=500, pause_ms=0, every=False)
    assert [case.name for case in unusual] == ["SSE, 500 streams, no pause"]
    with pytest.raises(ValueError, match="no case"):
        chosen(["idle"], connections=3, pause_ms=None, every=False)


def test_a_disturbed_window_is_made_again_but_not_for_ever() -> None:
    """Others had the machine: as many windows more as there are rounds, then what was found counts as it is."""
    others = iter([0.5, 0.0, 0.0, 0.5, 0.4, 0.0])
    one = Found()
    there: dict[str, Any] = {"nginx": None, "gateway": None}
    in_turn(there, one, lambda _: {"others": next(others)}, 2)
    assert one.values("nginx", "others") == [0.0, 0.4]
    assert one.values("gateway", "others") == [0.0, 0.0]


def test_a_gateway_of_another_checkout_is_a_subject(tmp_path: Path) -> None:
    """In each of its kinds; what is no checkout, and whom nobody knows, is refused."""
    (tmp_path / "app").mkdir()
    assert starter(f"power@{tmp_path}") == replace(KINDS["power"], root=tmp_path)
    assert starter("power") is KINDS["power"]
    for name in (f"nginx@{tmp_path}", f"gateway@{tmp_path}/nowhere", "nobody"):
        with pytest.raises(ValueError, match="unknown"):
            starter(name)
