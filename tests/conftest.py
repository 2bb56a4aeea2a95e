"""What every test shares: the loop that runs in production, and a gateway in front of a scripted upstream."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from app.simulator.child import SimulatorChild
from tests.harness import GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream
from tests.simulated_upstream import SimulatorUnderTest

DOCKER_TESTS = "tests/scenarios/docker/"

hypothesis_settings.register_profile("default", deadline=None, print_blob=True)
hypothesis_settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)
hypothesis_settings.load_profile("default")


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


class OneEngine(LoadScopeScheduling):  # type: ignore[misc]  # xdist tells no types
    """Deals tests out one by one, but the Docker tests all to one process: they share an engine and an image.

    (xdist's own way, the mark `xdist_group`, has no effect with pytest 9.2: it sets an attribute that nobody reads.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return DOCKER_TESTS if nodeid.startswith(DOCKER_TESTS) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneEngine:
    return OneEngine(config, log)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(params=["on", "off"])
def front(request: pytest.FixtureRequest) -> str:
    """Every wire test passes through the short cut and through FastAPI's route."""
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
