"""What every test shares: the loop that runs in production, and a gateway in front of a scripted upstream."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from tests.harness import GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream

hypothesis_settings.register_profile("default", deadline=None, print_blob=True)
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
