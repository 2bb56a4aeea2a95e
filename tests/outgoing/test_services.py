"""Other services: their address is read from a file by a process that ends, and is told nowhere."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.accounts.errors import BadValue
from app.accounts.sending import SendFailed
from app.core.alerts import Alert, Destination, DestinationKind
from app.outgoing import services
from app.outgoing.services import ServiceSender
from tests.scripted_upstream import UNTIL_GONE, ScriptedUpstream, json_answer, reached

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALERT = Alert("alr_1", AT, "upstream_key_refused", {})
SENDER = ServiceSender()

needs_apprise = pytest.mark.skipif(
    find_spec("apprise") is None and not os.environ.get("CI"), reason="Apprise is not installed (extra alerts)"
)


@pytest.fixture
def front() -> str:
    return "on"


def written(directory: Path, content: str | bytes) -> str:
    """A file that holds the address of a service; the destination's address."""
    path = directory / "service"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"file:{path}"


def at(address: str) -> Destination:
    return Destination("dst_1", "mail", DestinationKind.SERVICE, address, AT)


def service_of(receiver: ScriptedUpstream) -> str:
    """Apprise's own plain kind of webhook, in place of a service."""
    return f"json://user:SECRET@127.0.0.1:{receiver.port}/SECRET"


@needs_apprise
@pytest.mark.parametrize("slashes", ["", "//"])
async def test_an_alert_reaches_a_service(upstream: ScriptedUpstream, tmp_path: Path, slashes: str) -> None:
    """Title and message; the address may end with a line end, as editors write it."""
    address = written(tmp_path, service_of(upstream) + "\n").replace("file:", f"file:{slashes}")
    await SENDER.check(address)
    assert upstream.requests == []
    assert await SENDER.send(at(address), ALERT) is None  # type: ignore[func-returns-value]
    told = (await upstream.seen()).json()
    assert told["title"] == "ImageRouter Gateway: upstream key refused"
    assert told["message"].startswith("The upstream refuses the gateway's own key")
    assert upstream.requests[0].header(b"authorization") is not None


@needs_apprise
async def test_the_file_is_read_at_each_sending(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A new password counts at once."""
    address = written(tmp_path, "json://127.0.0.1:9/")
    with pytest.raises(SendFailed, match="the service did not take it"):
        await SENDER.send(at(address), ALERT)
    written(tmp_path, service_of(upstream))
    await SENDER.send(at(address), ALERT)
    (tmp_path / "service").unlink()
    with pytest.raises(SendFailed, match="cannot be read"):
        await SENDER.send(at(address), ALERT)
    assert len(upstream.requests) == 1


@needs_apprise
async def test_a_service_that_refuses_is_a_failure(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.answer(json_answer({"error": "SECRET"}, 500))
    with pytest.raises(SendFailed) as told:
        await SENDER.send(at(written(tmp_path, service_of(upstream))), ALERT)
    assert told.value.reason == "the service did not take it"


@needs_apprise
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no address that Apprise knows"),
        ("SECRET", "no address that Apprise knows"),
        ("nothing-there-is://SECRET", "no address that Apprise knows"),
        ("json://127.0.0.1/SECRET\njson://127.0.0.1/SECRET", "no address that Apprise knows"),
        ("json://127.0.0.1/" + "SECRET" * 1000, "no address that Apprise knows"),
        (b"json://\xff", "cannot be read by the gateway"),
    ],
)
async def test_a_file_that_holds_no_address_is_refused(content: str | bytes, says: str, tmp_path: Path) -> None:
    """When it is added; what it holds is not repeated."""
    with pytest.raises(BadValue, match=says) as told:
        await SENDER.check(written(tmp_path, content))
    assert "SECRET" not in told.value.message


@needs_apprise
async def test_neither_environment_nor_working_directory_have_a_say(
    upstream: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxies, no other modules."""
    (tmp_path / "apprise.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await SENDER.send(at(written(tmp_path, service_of(upstream))), ALERT)
    assert len(upstream.requests) == 1


@needs_apprise
async def test_an_attempt_that_is_cut_off_leaves_no_process(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    waiting = asyncio.Event()
    upstream.answer(reached(waiting), UNTIL_GONE)
    sending = asyncio.create_task(SENDER.send(at(written(tmp_path, service_of(upstream))), ALERT))
    await waiting.wait()
    started = time.monotonic()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await upstream.quiet()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("address", ["file:", "file:relative/path", "file:/", "file://host", "file:/run/secrets/"])
async def test_a_path_is_wanted_whole(address: str) -> None:
    with pytest.raises(BadValue, match="file:/run/secrets/slack"):
        await SENDER.check(address)


async def test_a_file_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "installed", lambda: True)
    with pytest.raises(BadValue, match="its file cannot be read by the gateway"):
        await SENDER.check(f"file:{tmp_path}/none")


async def test_without_apprise_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a destination is added; one that was added before waits for it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.setattr(services, "find_spec", lambda name: None)
    address = written(tmp_path, "json://127.0.0.1/")
    with pytest.raises(BadValue, match="uv sync --extra alerts"):
        await SENDER.check(address)
    with pytest.raises(SendFailed, match="not installed"):
        await SENDER.send(at(address), ALERT)
