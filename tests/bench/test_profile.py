"""The profile adds up: a thread's samples share what that thread had of a processor."""

from __future__ import annotations

import pytest

from tests.bench.profile import read_stacks, weighed

STACKS = """\
thread (7): MainThread;serve (app/cli/serve.py:1);run (app/proxy/relay.py:60);feed (app/core/sse.py:9) 30
thread (7): MainThread;serve (app/cli/serve.py:1);run (app/proxy/relay.py:60) 10
thread (9): ledger-writer;_run (/x/lib/python3.11/site-packages/app/store/writer.py:3);sqlite3_step (libsqlite3.so.0) 60
no stack at all
"""


def test_a_profile_adds_up_to_what_was_measured() -> None:
    """Seen more often, but on a processor for less: the writer waits. What every stack begins with is left out."""
    threads = read_stacks(STACKS.splitlines())
    by_thread, own, with_callees = weighed(threads, {7: 800, 9: 200, 11: 5}, 50.0)
    assert by_thread == {"MainThread": pytest.approx(40), "ledger-writer": pytest.approx(10)}
    assert own["app/core/sse.py feed"] == pytest.approx(30)
    assert own["app/proxy/relay.py run"] == pytest.approx(10)
    assert own["sqlite3_step [libsqlite3.so.0]"] == pytest.approx(10)
    assert sum(own.values()) == pytest.approx(50)
    assert with_callees["app/proxy/relay.py run"] == pytest.approx(40)
    assert with_callees["app/store/writer.py _run"] == pytest.approx(10)
    assert "app/cli/serve.py serve" not in with_callees


def test_a_function_that_calls_itself_counts_once() -> None:
    """Its time is not told twice."""
    stack = "thread (7): MainThread;walk (a.py:1);walk (a.py:1) 10"
    with_callees = weighed(read_stacks([stack]), {7: 100}, 20.0)[2]
    assert with_callees == {"a.py walk": pytest.approx(20)}
