"""Releases of the OpenAI SDKs from the first that knew Responses: each works unchanged, and each request is booked."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.core.records import Outcome, State
from app.simulator.child import SimulatorChild
from tests.harness import GatewayUnderTest, gateway_before
from tests.scenarios.books import assert_booked_as_billed
from tests.scenarios.tools import CLIENTS, node, node_bench, python, run

pytestmark = pytest.mark.scenario

PYTHON = ["openai-1", "openai-2", "openai-3", None]  # None = the project's own, the newest
NODE = ["openai-4", "openai-5", "openai-6", "openai-7"]

# Plain, short URL, streamed, two by helpers, aborted, two turns; one that the upstream refuses, two that it breaks.
ROWS = 11


async def meet(
    gateway: GatewayUnderTest, command: list[str | Path], directory: Path, *, rows: int = ROWS
) -> dict[str, Any]:
    """What the SDK met, and the ledger rows of it, all closed."""
    environment = {
        "API_KEY": await gateway.create_key(),
        "BASE_URL": gateway.base_url,
        "SHORT_BASE_URL": gateway.url + "/v1",
    }
    met: dict[str, Any] = (await run(*command, cwd=directory, environment=environment)).json
    expected = rows + ("asynchronous" in met)
    closed = await gateway.settled(expected)
    assert len(closed) == expected
    return {"rows": closed, **met}


def assert_worked(met: Mapping[str, Any]) -> None:
    assert met["plain"]["text"].startswith("Simulated answer to: Say hello")
    for step in {"asynchronous", "short_base_url", "helped"} & met.keys():
        assert met[step]["text"] == met["plain"]["text"], step
    assert met["helped"]["parsed"].keys() == {"city", "degrees"}
    streamed = met["streamed"]
    assert len(streamed["deltas"]) > 5
    assert "".join(streamed["deltas"]) == streamed["text"] == met["plain"]["text"]
    assert met["called"]["called"] == "get_weather"
    assert met["called"]["text"].startswith("The function said: no rain")


def assert_errors_name_the_mend(errors: Mapping[str, Any]) -> None:
    for wrong_key in (errors["wrong key"], errors["wrong key, streamed"]):
        assert (wrong_key["class"], wrong_key["code"]) == ("AuthenticationError", "invalid_api_key")
        assert "irg keys create" in wrong_key["text"]
    assert errors["wrong path"]["class"] == "NotFoundError"
    assert "/v1/openai (the SDK adds /responses)" in errors["wrong path"]["text"]
    assert errors["foreign response"]["code"] == "previous_response_not_found"
    assert errors["upstream"]["class"] == "BadRequestError"
    assert "The model does not take this request." in errors["upstream"]["text"]


def assert_breaks_are_noticed(broken: Mapping[str, Any]) -> None:
    """No half answer passes for a whole one."""
    assert (broken["plain"]["class"], broken["plain"]["status"]) == ("InternalServerError", 502)
    assert broken["streamed"]["class"] == "APIError"
    for error in broken.values():
        assert error["code"] == "upstream_disconnected"
        assert "It may have been billed" in error["text"]


def assert_booked(met: Mapping[str, Any], simulator: SimulatorChild) -> None:
    """The one that was left is booked like the others: the gateway read it on to its end. Of those that were
    broken off nobody knows the cost, and they were sent once."""
    *answered, refused, broken, broken_stream = met["rows"]
    assert_booked_as_billed(answered, simulator.bill())
    assert (refused.state, refused.status) == (State.FREE, 400)
    for row in (broken, broken_stream):
        assert (row.state, row.outcome) == (State.UNKNOWN, Outcome.UPSTREAM_DISCONNECTED)
        assert (row.true_cost_picodollars, row.charged_picodollars, row.sdk_retry) == (None, None, 0)
    rows = {row.response_id: row for row in answered}
    for told in (met["plain"], met["streamed"]):
        assert rows[told["id"]].true_cost_picodollars == Decimal(str(told["cost"])).scaleb(12)
    assert rows[met["plain"]["id"]].upstream_request_id == met["plain"]["request_id"]
    left = rows.pop(met["aborted"]["id"])
    assert left.outcome is Outcome.CLIENT_DISCONNECTED
    assert {row.outcome for row in rows.values()} == {Outcome.COMPLETED}
    assert set(met["called"]["ids"]) <= rows.keys()


@pytest.mark.parametrize("environment", PYTHON, ids=lambda environment: environment or "newest")
async def test_every_release_of_the_python_sdk_works(
    environment: str | None, gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """Plain, streamed, by helpers, left, two turns with a function, both base URLs, errors."""
    met = await meet(gateway, [python(environment), "-P", CLIENTS / "with_sdk.py"], tmp_path)
    assert environment is None or environment == f"openai-{met['version'].split('.')[0]}"
    assert_worked(met)
    assert_errors_name_the_mend(met["refused"])
    assert_breaks_are_noticed(met["broken"])
    assert_booked(met, simulator)


@pytest.mark.parametrize("package", NODE)
async def test_every_release_of_the_node_sdk_works(
    package: str, gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """Plain, streamed, by helpers, left, two turns with a function, both base URLs, errors."""
    met = await meet(gateway, [node(), node_bench(tmp_path, openai=package) / "with_sdk.mjs"], tmp_path)
    assert package == f"openai-{met['version'].split('.')[0]}"
    assert_worked(met)
    assert_errors_name_the_mend(met["refused"])
    assert_breaks_are_noticed(met["broken"])
    assert_booked(met, simulator)


def newest(language: str, directory: Path) -> list[str | Path]:
    if language == "node":
        return [node(), node_bench(directory, openai=NODE[-1]) / "with_sdk.mjs"]
    return [python(None), "-P", CLIENTS / "with_sdk.py"]


@pytest.mark.parametrize("language", ["python", "node"])
async def test_an_abandoned_answer_that_is_cut_is_unknown(
    language: str, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """With `cancel` nobody reads its cost: the row says so instead of guessing; the others are as exact as ever."""
    async with gateway_before(simulator.url, tmp_path, on_client_disconnect="cancel") as gateway:
        met = await meet(gateway, newest(language, tmp_path), tmp_path)
    rows = {row.response_id: row for row in met["rows"] if row.outcome is not Outcome.UPSTREAM_DISCONNECTED}
    left = rows.pop(met["aborted"]["id"])
    assert (left.state, left.outcome) == (State.UNKNOWN, Outcome.CLIENT_DISCONNECTED)
    assert (left.true_cost_picodollars, left.charged_picodollars) == (None, None)
    assert left.unknown_reason
    assert_booked_as_billed([row for row in rows.values() if row.status == 200], simulator.bill())


@pytest.mark.parametrize("language", ["python", "node"])
async def test_every_retry_of_an_sdk_has_a_row_of_its_own(
    language: str, gateway: GatewayUnderTest, tmp_path: Path
) -> None:
    """An overloaded upstream is asked three times, as the SDK does by itself; the rows count the tries."""
    met = await meet(gateway, [*newest(language, tmp_path), "retried"], tmp_path, rows=3)
    assert (met["retried"]["class"], met["retried"]["status"]) == ("InternalServerError", 503)
    assert [(row.sdk_retry, row.status) for row in met["rows"]] == [(0, 503), (1, 503), (2, 503)]
