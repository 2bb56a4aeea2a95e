"""Logs: one JSON object a line, nothing secret in it, and never in the way of a request."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app import telemetry
from app.core import value
from app.core.clock import format_time
from app.core.keys import new_secret
from app.core.records import Admitted, Cost, Intent, Outcome, Reading, Settlement, State, TokenUsage
from app.settings import Settings
from app.telemetry.lines import SOON_SECONDS, WAITING_MAX, Lines
from app.telemetry.rendering import Rendering, time_text

UPSTREAM_KEY = 'sk-upstream/"quoted"-0123456789'
ADMIN_TOKEN = "an-admin-token-of-many-characters-9f8e7d"

INTENT = Intent(
    request_id="req_01K0000000000000000000000A",
    key_id="key_01K0000000000000000000000B",
    secret_hash="ab" * 32,
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
    model="openai/gpt-4o-mini",
    stream=True,
    sdk_retry=1,
)
ADMITTED = Admitted(INTENT.request_id, key_name="support-bot", team="research", tags=("prod",))
SETTLED = Settlement(
    request_id=INTENT.request_id,
    state=State.SETTLED,
    outcome=Outcome.COMPLETED,
    reading=Reading(
        true_cost=Cost("0.0000123", 12_300_000),
        charged=Cost("0.0001", 100_000_000),
        usage=TokenUsage(12, 0, 24, 0, 36),
        response_id="resp_1",
        model_answered="openai/gpt-4o-mini-2024",
        complete=True,
    ),
    status=200,
    upstream_request_id="up_1",
    ttfb_ms=812,
    duration_ms=3777,
)


@pytest.fixture
def log() -> Iterator[io.TextIOWrapper]:
    """Logging as `serve` sets it up, into memory."""
    before, handlers, level = structlog.get_config(), list(logging.getLogger().handlers), logging.getLogger().level
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")  # as a container without a locale has it
    telemetry.configure("info", secrets=[UPSTREAM_KEY, ADMIN_TOKEN], stream=stream)
    yield stream
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def lines(stream: io.TextIOWrapper) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text(stream).splitlines()]


def text(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def test_what_settings_keep_secret_is_masked(log: io.TextIOWrapper) -> None:
    """Keys and tokens, and the password in a proxy's URL, as it is written there and as it is sent."""
    settings = Settings(
        imagerouter_api_key=SecretStr("upstream-key-0123456789"),
        admin_token=SecretStr("f2k8-vm31-pz07-qq94-xh65-rb2c-0d"),
        upstream_transport="httpx",
        upstream_proxy="http://gate:open%20sesame@proxy.example.com:3128",
    )
    telemetry.configure("info", secrets=settings.secret_texts(), stream=log)
    told = [str(settings.upstream_proxy), "open sesame", "gate:open%20sesame", *settings.secret_texts()]
    telemetry.get_logger("test").info("told", told=told)
    for secret in ("sesame", "upstream-key-0123456789", "f2k8-vm31"):
        assert secret not in text(log)
    assert "proxy.example.com" in text(log)


def test_a_closed_request_is_one_line_with_both_costs(log: io.TextIOWrapper) -> None:
    """Everything the ledger knows of a request, money as exact decimal text."""
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    (line,) = lines(log)
    assert datetime.fromisoformat(line.pop("at")).tzinfo is not None
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": INTENT.request_id,
        "key": "support-bot",
        "key_id": INTENT.key_id,
        "team": "research",
        "model": "openai/gpt-4o-mini",
        "model_answered": "openai/gpt-4o-mini-2024",
        "stream": True,
        "status": 200,
        "outcome": "completed",
        "state": "settled",
        "true_cost": "0.0000123",
        "charged": "0.0001",
        "charged_derived": False,
        "charge_mismatch": False,
        "unknown_reason": None,
        "input_tokens": 12,
        "cached_tokens": 0,
        "output_tokens": 24,
        "reasoning_tokens": 0,
        "total_tokens": 36,
        "response_id": "resp_1",
        "upstream_request_id": "up_1",
        "sdk_retry": 1,
        "ttfb_ms": 812,
        "duration_ms": 3777,
    }


@pytest.mark.parametrize("letter", [*"\x7f\x85\x9b\u200b\u2028\u2029\u202e\ufeff\U000e0041", "\n", "\x1b"])
def test_no_word_of_a_client_ends_a_line_or_steers_a_terminal(log: io.TextIOWrapper, letter: str) -> None:
    """What cannot be seen is escaped, what can is not; it reads back as it was."""
    model = f'é名{letter}{{"event":"forged"}}'
    telemetry.log_request(value.replace(INTENT, model=model), ADMITTED, SETTLED)
    written = text(log).removesuffix("\n")
    assert written.isprintable()
    assert written.splitlines() == [written]
    assert "é名" in written
    assert json.loads(written)["model"] == model


@pytest.mark.parametrize("which", ["true_cost", "charged"])
def test_a_cost_above_the_ceiling_is_told_to_the_admin(log: io.TextIOWrapper, which: str) -> None:
    """It is booked as said; the warning names the request and whose it is."""
    at, above = Cost("100", 100 * 10**12), Cost("100.000000000001", 100 * 10**12 + 1)
    for cost in (at, above):
        told: dict[str, Any] = {which: cost}
        reading = value.replace(SETTLED.reading, **told)
        telemetry.log_request(INTENT, ADMITTED, value.replace(SETTLED, reading=reading))
    first, second, warning = lines(log)
    assert (first["event"], second["event"], second[which]) == ("request", "request", "100.000000000001")
    assert (warning["event"], warning["level"]) == ("cost_above_ceiling", "warning")
    assert (warning["request_id"], warning["key"]) == (INTENT.request_id, "support-bot")


def test_an_unknown_cost_is_null_with_its_reason(log: io.TextIOWrapper) -> None:
    """Unknown is never written as nothing."""
    unknown = value.replace(
        SETTLED, state=State.UNKNOWN, reading=Reading(), unknown_reason="no_terminal_event", ttfb_ms=None
    )
    telemetry.log_request(INTENT, ADMITTED, unknown)
    (line,) = lines(log)
    assert line["true_cost"] is None
    assert line["charged"] is None
    assert line["unknown_reason"] == "no_terminal_event"
    assert line["total_tokens"] is None
    assert line["ttfb_ms"] is None


@given(st.text())
def test_a_clients_word_never_starts_a_line(word: str) -> None:
    """Log injection: whatever a model is called, one event is one line that parses to that name."""
    rendered = Rendering([])(None, "info", {"event": "request", "model": word})[0][0]
    assert rendered.count(b"\n") == 1
    assert json.loads(rendered)["model"] == word


@pytest.mark.parametrize("value", ["\ud800", 10**40, {1, 2}, object(), b"\xff"])
def test_no_value_is_too_odd_to_be_logged(log: io.TextIOWrapper, value: object) -> None:
    """A line that cannot be rendered in the quick way is rendered in another."""
    telemetry.get_logger("test").info("odd", value=value)
    (line,) = lines(log)
    assert line["event"] == "odd"


def test_secrets_are_masked_wherever_they_stand(log: io.TextIOWrapper) -> None:
    """The second net: in an event, in a nested value, in a name, in an exception's words, quoted for a URL."""
    team_key = new_secret().text
    logger = telemetry.get_logger("test")
    logger.info(f"with {UPSTREAM_KEY}", nested={"list": [ADMIN_TOKEN]}, **{team_key: 1})
    logger.info("url", url="https://x/?key=sk-upstream%2F%22quoted%22-0123456789")
    logger.error("failed", exc_info=ValueError(f"no such key {team_key} {ADMIN_TOKEN}"))
    logging.getLogger("library").warning("key %s", UPSTREAM_KEY)
    written = text(log)
    assert len(lines(log)) == 4
    for secret in (UPSTREAM_KEY, ADMIN_TOKEN, team_key, "sk-upstream"):
        assert secret not in written
    assert written.count("«redacted»") >= 7


def test_the_public_part_of_a_key_is_not_masked(log: io.TextIOWrapper) -> None:
    """What `irg keys list` shows may be logged."""
    telemetry.get_logger("test").info("made", prefix="irg_02ffabcd")
    assert lines(log)[0]["prefix"] == "irg_02ffabcd"


def test_the_standard_librarys_loggers_come_through_the_same_door(log: io.TextIOWrapper) -> None:
    """uvicorn's warnings are lines like ours; what libraries chat about is left out."""
    logging.getLogger("uvicorn.error").warning("line\nbreak %s", "x")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("httpx").info("HTTP Request: POST https://…")
    (door,) = (handler for handler in logging.getLogger().handlers if type(handler).__module__ == "app.telemetry")
    door.handle(logging.LogRecord("odd", logging.WARNING, "file", 1, "%d", ("no number",), None))
    logging.getLogger("bad").critical("worst")
    written = lines(log)
    assert [(line["source"], line["level"], line["event"]) for line in written] == [
        ("uvicorn.error", "warning", "line\nbreak x"),
        ("odd", "warning", "%d"),
        ("bad", "error", "worst"),
    ]


def test_an_exception_keeps_its_traceback_in_one_line(log: io.TextIOWrapper) -> None:
    """Of ours and of the library's loggers alike."""
    logging.getLogger("library").error("failed", exc_info=RuntimeError("broken"))
    telemetry.get_logger("test").error("failed", exc_info=RuntimeError("broken"))
    assert all("RuntimeError: broken" in line["exception"] for line in lines(log))
    assert len(lines(log)) == 2


def test_the_level_is_the_least_that_is_written(log: io.TextIOWrapper) -> None:
    """`IRG_LOG_LEVEL=warning` leaves closed requests out."""
    telemetry.configure("warning", stream=log)
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    telemetry.get_logger("test").info("chat")
    telemetry.get_logger("test").warning("note")
    assert [line["event"] for line in lines(log)] == ["note"]


class _Full(io.RawIOBase):
    """A disk without room, or a pipe nobody reads."""

    def writable(self) -> bool:
        return True

    def write(self, _: Any) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_that_cannot_be_written_stops_nobody(log: io.TextIOWrapper) -> None:
    """Neither a full disk nor a closed stream reaches whoever closes a request."""
    raw = _Full()
    full = io.TextIOWrapper(io.BufferedWriter(raw))
    telemetry.configure("info", stream=full)
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    closed = io.StringIO()
    closed.close()
    telemetry.configure("info", stream=closed)
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    raw.write = lambda _: 1_000_000  # type: ignore[method-assign] # so that Python can let go of the stream


def test_a_stream_of_text_alone_takes_lines_as_well(log: io.TextIOWrapper) -> None:
    """Where stdout is replaced (tests, notebooks) there may be no bytes underneath."""
    captured = io.StringIO()
    telemetry.configure("info", stream=captured)
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    assert json.loads(captured.getvalue())["key"] == "support-bot"


def test_a_line_may_be_told_while_another_is_written(log: io.TextIOWrapper) -> None:
    """Whatever writing sets off (a collection of garbage) may have something to say: nobody waits for ever."""
    out = _Talking()
    telemetry.configure("info", stream=out)
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    assert sorted(json.loads(line)["event"] for line in out.getvalue().splitlines()) == ["by the way", "request"]


class _Talking(io.StringIO):
    """Says something itself when it is first written to."""

    said = False

    def write(self, text: str) -> int:
        if not self.said:
            self.said = True
            logging.getLogger("beside").warning("by the way")
        return super().write(text)


class _Writes(io.RawIOBase):
    """Notes each write by itself."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.written.append(bytes(data))
        return len(data)

    def events(self) -> list[list[str]]:
        return [[json.loads(line)["event"] for line in write.splitlines()] for write in self.written]


async def test_lines_wait_for_each_other_and_leave_in_one_write(log: io.TextIOWrapper) -> None:
    """In the order in which they were told; what is no request's line is written at once, behind those before it."""
    raw = _Writes()
    telemetry.configure("info", stream=io.TextIOWrapper(io.BufferedWriter(raw)))
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    await asyncio.sleep(0)
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    assert raw.written == []
    while not raw.written:
        await asyncio.sleep(0)
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    telemetry.get_logger("test").info("note")
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    while len(raw.written) < 3:
        await asyncio.sleep(0)
    assert raw.events() == [["request", "request"], ["request", "note"], ["request"]]


async def test_a_line_of_a_thread_waits_for_no_loop(log: io.TextIOWrapper) -> None:
    """Which may stand still; those that wait for one leave with it."""
    raw = _Writes()
    telemetry.configure("info", stream=io.TextIOWrapper(io.BufferedWriter(raw)))
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    thread = threading.Thread(target=telemetry.log_request, args=(INTENT, ADMITTED, SETTLED))
    thread.start()
    thread.join()
    assert raw.events() == [["request", "request"]]


async def test_many_lines_do_not_wait(log: io.TextIOWrapper) -> None:
    """However many requests a turn of the loop closes, no more of their lines are kept."""
    raw = _Writes()
    telemetry.configure("info", stream=io.TextIOWrapper(io.BufferedWriter(raw, buffer_size=2**20)))
    for _ in range(2 * WAITING_MAX + 1):
        telemetry.log_request(INTENT, ADMITTED, SETTLED)
    assert [len(write) for write in raw.events()] == [WAITING_MAX] * 2


def test_a_line_that_a_loop_left_behind_is_written_all_the_same(log: io.TextIOWrapper) -> None:
    """By the next line, of another loop or of none, and at the latest when the process ends."""
    raw = _Writes()
    telemetry.configure("info", stream=io.TextIOWrapper(io.BufferedWriter(raw)))

    async def tell() -> None:
        telemetry.log_request(INTENT, ADMITTED, SETTLED)

    for _ in range(2):
        loop = asyncio.new_event_loop()
        telling = tell()
        asyncio.events._set_running_loop(loop)  # of one that ends in the very turn in which a line was told
        with pytest.raises(StopIteration):
            telling.send(None)
        asyncio.events._set_running_loop(None)
        loop.close()
    assert raw.written == []
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    assert raw.events() == [["request"] * 3]


@pytest.mark.scenario
def test_lines_that_wait_are_written_when_the_process_ends(tmp_path: Path) -> None:
    """Also when the loop is torn down in the middle of a turn."""
    script = (
        "import asyncio, sys; from app import telemetry; from tests.test_telemetry import ADMITTED, INTENT, SETTLED\n"
        "async def main():\n"
        "    telemetry.configure('info'); telemetry.log_request(INTENT, ADMITTED, SETTLED); sys.exit(3)\n"
        "asyncio.run(main())\n"
    )
    root = Path(telemetry.__file__).parent.parent
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=root, check=False, timeout=60)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.count(b'"event":"request"') == 1


def test_a_time_in_the_log_is_written_as_everywhere() -> None:
    """RFC 3339 in UTC, rounded down to the millisecond, across seconds and years."""
    for at in (0, 999_999, 1_700_000_000_123_999_999, 1_700_000_001_000_000_000, 1_798_761_599_999_999_999):
        expected = format_time(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at // 1000))
        assert time_text(at) == expected


WORDS = st.lists(
    st.sampled_from(["sk-abcdefgh", new_secret().text, "\n", "\u2028", "\x7f", "é", "\ud800", "ok", '"']), max_size=4
)


@given(st.lists(WORDS.map("".join), min_size=1, max_size=5))
def test_lines_that_are_made_together_are_those_made_one_by_one(words: list[str]) -> None:
    """Each ends where it ends, and what must not be told is masked in each."""
    rendering = Rendering(["sk-abcdefgh"])
    events: list[dict[str, Any]] = [{"event": "request", "model": word} for word in words]
    together = rendering.lines(dict(event) for event in events)
    assert together == b"".join(rendering.lines([dict(event)]) for event in events)
    assert together.count(b"\n") == len(events)
    assert b"sk-abcdefgh" not in together


async def test_a_line_tells_when_the_request_was_closed(log: io.TextIOWrapper) -> None:
    """Not when it was written."""
    telemetry.log_request(INTENT, ADMITTED, SETTLED)
    closed = datetime.now(UTC)
    await asyncio.sleep(2 * SOON_SECONDS)
    telemetry.get_logger("test").info("note")
    line = lines(log)[0]
    assert datetime.fromisoformat(line["at"].replace("Z", "+00:00")) <= closed


def test_a_line_that_cannot_be_made_is_lost_alone() -> None:
    """Whoever logs next does not meet it."""

    def render(closed: list[Any]) -> bytes:
        return b"".join(b"%d\n" % (6 // one) for one in closed)

    raw = _Writes()
    out = Lines(io.TextIOWrapper(io.BufferedWriter(raw)))

    async def tell() -> None:
        for one in (1, 0, 3):
            out.write_soon(one, render)

    asyncio.run(tell())
    out.write(b"note\n")
    assert raw.written == [b"6\n2\nnote\n"]
