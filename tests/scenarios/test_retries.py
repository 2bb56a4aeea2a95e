"""How often clients ask again where the gateway refuses, how long they wait, and what their user sees.

Every client runs as it comes. What it asked is counted on the wire, since not every refusal leaves a row.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.simulator.child import SimulatorChild
from tests.readme_tables import times_asked_again
from tests.scenarios.codex import Retries, codex, codex_version
from tests.scenarios.refusing import BROKEN_STREAM, Scene, refusing_all, refusing_once
from tests.scenarios.tools import CLIENTS, Ran, node, node_bench, python, run
from tests.scenarios.watch import Asked

pytestmark = pytest.mark.scenario

Command = Callable[[Path], list[str | Path]]


def _python(environment: str | None) -> Command:
    return lambda directory: [python(environment), "-P", CLIENTS / "refused_sdk.py"]


def _node(script: str, package: str) -> Command:
    return lambda directory: [node(), node_bench(directory, openai=package) / script]


VERCEL = "Vercel AI SDK"
SCRIPTED: dict[str, tuple[str, Command]] = {  # how the README calls them
    "python-oldest": ("Python", _python("openai-1")),
    "python-newest": ("Python", _python(None)),
    "node-oldest": ("Node", _node("refused_sdk.mjs", "openai-4")),
    "node-newest": ("Node", _node("refused_sdk.mjs", "openai-7")),
    "vercel": (VERCEL, _node("refused_vercel.mjs", "openai-7")),
}

CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    429: "RateLimitError",
    502: "InternalServerError",
    503: "InternalServerError",
}

# Of a server's errors Codex is given fewer retries but in one place: with its own it would wait for a minute.
CODEX_ALL_RETRIES = "502 `upstream_disconnected`"
CODEX_FEW: Retries = (1, 1)

# Where Codex has words of its own.
CODEX_WORDS = {
    "`insufficient_quota`": "Quota exceeded. Check your plan and billing details.",
    "`rate_limit_exceeded`": "exceeded retry limit, last status: 429 Too Many Requests",
    BROKEN_STREAM: "stream disconnected before completion",
}


async def ask(command: Command, scenes: Sequence[Scene], directory: Path) -> dict[str, Any]:
    """What a script's user met in each scene, and the client's version."""
    cases = json.dumps([scene.case for scene in scenes])
    seen: dict[str, Any] = (await run(*command(directory), cwd=directory, environment={"CASES": cases})).json
    assert seen["met"].keys() == {scene.name for scene in scenes}
    return seen


def minor(version: str) -> str:
    found = re.match(r"\d+\.\d+", version)
    assert found is not None
    return found[0]


def asked(scene: Scene, *, stream: bool) -> list[Asked]:
    return [one for one in scene.watch.asked if one.stream is stream]


def told(one: Asked) -> str:
    """As the README calls it."""
    if one.status == 200:
        return BROKEN_STREAM
    reason = (one.error.get("gateway") or {}).get("reason")
    return f"{one.status} `{one.error['code']}`" + (f" (`{reason}`)" if reason else "")


def asked_again(scene: Scene) -> int:
    """How often, each time for the same reason, and streamed as often as plain."""
    assert {told(one) for one in scene.watch.asked} == {scene.name}
    (count,) = {len(asked(scene, stream=stream)) for stream in scene.streams}
    return count - 1


def assert_waited_as_told(scenes: Sequence[Scene]) -> None:
    """Nobody comes early; and who is told less than it would wait by itself comes when it was told."""
    waits = [wait for scene in scenes for stream in scene.streams for wait in scene.watch.waits(stream=stream)]
    bidden = [(seconds, passed) for seconds, passed in waits if seconds is not None]
    assert all(passed > seconds - 0.01 for seconds, passed in bidden), bidden
    assert min(passed for seconds, passed in bidden if seconds == 1) < 1.9


def assert_seen(scene: Scene, met: dict[str, dict[str, str]], errors: Callable[[Asked, int], str]) -> None:
    """The last refusal's sentence is in what the user sees, and the error is of the class that one would catch."""
    for stream in scene.streams:
        all_asked, seen = asked(scene, stream=stream), met["streamed" if stream else "plain"]
        last = all_asked[-1]
        assert seen["error"] == errors(last, len(all_asked)), scene.name
        sentence = "It may have been billed" if scene.name == BROKEN_STREAM else last.error["message"]
        assert sentence in seen["text"], scene.name


def codex_retries(scene: Scene) -> Retries | None:
    few = scene.name.startswith("5") and scene.name != CODEX_ALL_RETRIES
    return CODEX_FEW if few else None


def assert_codex_shows(scene: Scene, ran: Ran) -> None:
    assert ran.code != 0
    last = json.loads(ran.out.splitlines()[-1])
    own = [words for name, words in CODEX_WORDS.items() if name in scene.name]
    assert last["type"] == "turn.failed"
    assert (own or [scene.watch.asked[-1].error["message"]])[0] in last["error"]["message"], scene.name


async def test_codex_asks_again_as_often_as_the_readme_says(simulator: SimulatorChild, tmp_path: Path) -> None:
    """It waits as it is told in between. A server's error it meets with two kinds of retries, one inside the other:
    so fewer of each tell as much. Our sentence is shown but for 429 and broken streams."""
    readme = times_asked_again(f"Codex CLI {minor(codex_version())}")
    async with refusing_all(simulator.url, tmp_path) as every:
        # It streams, and it never sends a previous_response_id.
        scenes = [replace(scene, streams=(True,)) for scene in every if scene.name in readme]

        async def task(scene: Scene) -> Ran:
            target = {"base_url": scene.watch.base_url, "api_key": scene.secret}
            return await codex(tmp_path, target, "-m", scene.body["model"], retries=codex_retries(scene))

        shown = await asyncio.gather(*(task(scene) for scene in scenes))
    again = {scene.name: asked_again(scene) for scene in scenes}
    for scene in scenes:
        if codex_retries(scene) is not None:
            requests, answers = CODEX_FEW
            assert again[scene.name] == (1 + requests) * (1 + answers) - 1
            again[scene.name] = again[CODEX_ALL_RETRIES]
    assert again == readme
    assert_waited_as_told(scenes)
    for scene, ran in zip(scenes, shown, strict=True):
        assert_codex_shows(scene, ran)


def error_of_sdk(last: Asked, _: int) -> str:
    return CLASSES.get(last.status, "APIError")


def error_of_vercel(last: Asked, count: int) -> str:
    if last.status == 200:
        return "AI_StreamProviderError"
    return "AI_RetryError" if count > 1 else "AI_APICallError"


@pytest.mark.parametrize("client", SCRIPTED)
async def test_an_sdk_asks_again_as_often_as_the_readme_says(
    client: str, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """It waits as it is told in between, and shows our sentence in the end."""
    name, command = SCRIPTED[client]
    async with refusing_all(simulator.url, tmp_path) as scenes:
        seen = await ask(command, scenes, tmp_path)
    readme = times_asked_again(f"{name} {minor(seen['version'])}")
    assert {scene.name: asked_again(scene) for scene in scenes} == readme
    assert_waited_as_told(scenes)
    for scene in scenes:
        assert_seen(scene, seen["met"][scene.name], error_of_vercel if name == VERCEL else error_of_sdk)


@pytest.mark.parametrize("client", SCRIPTED)
async def test_a_limit_that_is_met_once_ends_in_success(client: str, simulator: SimulatorChild, tmp_path: Path) -> None:
    """Held budget, requests per minute, concurrency: the client waits by itself, and its user sees the answer alone."""
    async with refusing_once(simulator.url, tmp_path) as scenes:
        seen = await ask(SCRIPTED[client][1], scenes, tmp_path)
    for scene in scenes:
        assert [one.status for one in scene.watch.asked] == [429, 200], scene.name
        refused = scene.watch.asked[0]
        assert scene.name.startswith(refused.error["gateway"]["reason"])
        (answer,) = seen["met"][scene.name].values()
        assert answer["text"].startswith("Simulated answer to: hi"), scene.name
    assert_waited_as_told(scenes)
