"""Every test here runs real clients: with CI=true or by name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from app.settings import Settings
from app.simulator.child import SimulatorChild
from tests.harness import UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.scenarios.servers import ServerChild, bridge_to
from tests.scenarios.tools import CLIENTS, installed, node


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorChild]:
    """One for all tests of a process; it takes the upstream key alone, so no client reaches it by its team key."""
    bill = tmp_path_factory.mktemp("simulator") / "bill.jsonl"
    with SimulatorChild(bill, expected_key=UPSTREAM_KEY) as child:
        yield child


@pytest.fixture
async def gateway(simulator: SimulatorChild, tmp_path: Path) -> AsyncIterator[GatewayUnderTest]:
    """A gateway with a ledger of its own, in front of the simulator."""
    async with gateway_before(simulator.url, tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def llmock() -> Iterator[ServerChild]:
    """LLMock: calls tools and fills schemas on its own."""
    with ServerChild(installed("llmock/bin/llmock"), "serve", "--host", "127.0.0.1", "--port", "0") as child:
        yield child


@pytest.fixture(scope="session")
def aimock() -> Iterator[ServerChild]:
    """aimock: answers as its fixtures say."""
    cli = installed("node/node_modules/@copilotkit/aimock/dist/cli.js")
    with ServerChild(node(), cli, "--port", "0", "--fixtures", CLIENTS / "aimock.json") as child:
        yield child


@dataclass(frozen=True)
class Behind:
    """A Responses server as it is reached directly, and a gateway in front of it."""

    name: str
    base_url: str
    gateway: GatewayUnderTest

    @property
    def direct(self) -> dict[str, str]:
        return {"base_url": self.base_url, "api_key": UPSTREAM_KEY}

    async def through(self) -> dict[str, str]:
        return {"base_url": self.gateway.base_url, "api_key": await self.gateway.create_key()}


@pytest.fixture
async def behind(
    simulator: SimulatorChild, llmock: ServerChild, aimock: ServerChild, tmp_path: Path
) -> AsyncIterator[list[Behind]]:
    """The simulator, which tells costs, and two servers that tell none: each with a gateway of its own."""
    async with contextlib.AsyncExitStack() as stack:

        async def before(name: str, upstream_url: str, base_url: str) -> Behind:
            directory = tmp_path / name
            directory.mkdir()
            gateway = await stack.enter_async_context(gateway_before(upstream_url, directory))
            return Behind(name, base_url, gateway)

        places = [await before("simulator", simulator.url, simulator.url + "/v1/openai")]
        for name, server in (("llmock", llmock), ("aimock", aimock)):
            bridge = await stack.enter_async_context(bridge_to(server.url))
            places.append(await before(name, bridge, server.url + "/v1"))
        yield places


@pytest.fixture(params=get_args(Settings.model_fields["upstream_transport"].annotation))
def transport(request: pytest.FixtureRequest) -> str:
    """Every implementation of the upstream's Protocol that the setting can name."""
    return str(request.param)
