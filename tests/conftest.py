"""What every test shares: the loop that runs in production, and a gateway in front of a scripted upstream."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from app.simulator.child import SimulatorChild
from app.store import backfill, connections, engine
from tests import made_once, scratch
from tests.canaries import found_in
from tests.harness import ADMIN_TOKEN, UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream
from tests.simulated_upstream import SimulatorUnderTest

# pytest's own directories, `tmp_path` among them.
if scratch.SCRATCH is not None:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = scratch.SCRATCH

# Tests that share what takes long to make: an engine and an image; a history of weeks.
TOGETHER = ("tests/scenarios/docker/", "tests/cli/test_demo_history.py")

# The default set is a few minutes; CI looks further, the long form (`--hypothesis-profile=long`) further still; a night
# gives the four fuzz targets more than 50,000 together.
hypothesis_settings.register_profile("default", deadline=None, print_blob=True, max_examples=40)
hypothesis_settings.register_profile("ci", deadline=None, print_blob=True, max_examples=50)
hypothesis_settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)
hypothesis_settings.register_profile("night", deadline=None, print_blob=True, max_examples=13_000)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """uvloop, as `irg serve` runs it."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own IRG_… variables and keys mean nothing to a test."""
    for name in list(os.environ):
        if name.startswith("IRG_") or name == "IMAGEROUTER_API_KEY":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """structlog's default draws every local of a traceback: seconds in the ledger's writer, with others waiting.

    (So a test of a failing operation failed on a busy machine: its neighbours gave up waiting.)
    """
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session", autouse=True)
def _schema_made_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for room in (engine, backfill):
            patch.setattr(room, "make_file", made_once.make_file)
        yield


@pytest.fixture
def real_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty ledger gets its schema step by step, as in production."""
    monkeypatch.setattr(engine, "make_file", connections.make_file)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`scenario` joins with CI=true, `long` only by name; quick tests come first."""
    selected_by_mark = bool(config.getoption("-m"))
    named = any("::" in argument or argument.endswith(".py") for argument in config.args)
    for item in items:
        if item.get_closest_marker("long") and not named and not selected_by_mark:
            item.add_marker(pytest.mark.skip(reason="runs only by name"))
        elif item.get_closest_marker("scenario") and not (os.environ.get("CI") or named or selected_by_mark):
            item.add_marker(pytest.mark.skip(reason="runs with CI=true or by name"))
    items.sort(key=lambda item: bool(item.get_closest_marker("scenario")))


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: to look through it for garbage takes a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whatever a test makes the gateway log, masked or not: the upstream key and the admin token are not in it."""
    report = yield
    leaks = [title for title, text in report.sections if found_in(text.encode(), (UPSTREAM_KEY, ADMIN_TOKEN))]
    if leaks and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a secret was logged, see {', '.join(leaks)}"
    return report


class OneByOne(LoadScopeScheduling):  # type: ignore[misc]  # xdist tells no types
    """Deals tests out one by one, but those that share something all to one process.

    (xdist's own way, the mark `xdist_group`, has no effect with pytest 9.2: it sets an attribute that nobody reads.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((group for group in TOGETHER if nodeid.startswith(group)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneByOne:
    return OneByOne(config, log)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(params=["on", "off"] if os.environ.get("CI") else ["on"])
def front(request: pytest.FixtureRequest) -> str:
    """Every wire test passes through the short cut and the direct transport; in CI, also through FastAPI and httpx."""
    return str(request.param)


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_before(upstream.url, tmp_path, front=front) as running:
        yield running


@pytest.fixture(scope="session")
def _child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorChild]:
    """One for all tests: each finds its own lines on the bill by response id or marker."""
    with SimulatorChild(tmp_path_factory.mktemp("simulator") / "bill.jsonl") as child:
        yield child


@pytest.fixture
async def simulator(_child: SimulatorChild) -> AsyncIterator[SimulatorUnderTest]:
    headers = {"authorization": "Bearer any-key"}
    # No TLS here, and loading certificates takes longer than most of these tests.
    async with httpx.AsyncClient(
        base_url=_child.url, headers=headers, trust_env=False, verify=False, timeout=20
    ) as client:
        yield SimulatorUnderTest(_child, client)
