"""Each snippet of `irg connect` does its job as it was printed, with the client that it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.cli.snippets import SNIPPETS, Access
from app.core.records import State
from tests.harness import GatewayUnderTest
from tests.scenarios.tools import installed, node, node_bench, python, run

pytestmark = pytest.mark.scenario

# What a person adds to the Vercel snippet when the model is to call a tool.
VERCEL_TOOL = """
import { stepCountIs, tool } from "ai";
import { z } from "zod";
const get_weather = tool({
  description: "The weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `21 degrees in ${city}`,
});
const answered = await generateText({
  model: gateway.responses("openai/gpt-4o-mini"),
  prompt: "What is the weather in Paris? Use the tool.",
  tools: { get_weather },
  stopWhen: stepCountIs(3),
});
console.log(JSON.stringify({ steps: answered.steps.length, text: answered.text }));
"""


async def _python(snippet: str, directory: Path) -> str:
    (directory / "it.py").write_text(snippet)
    return (await run(python(None), "it.py", cwd=directory)).text


async def _langchain(snippet: str, directory: Path) -> str:
    (directory / "it.py").write_text(snippet)
    return (await run(python("frameworks"), "it.py", cwd=directory)).text


async def _node(snippet: str, directory: Path) -> str:
    bench = node_bench(directory)
    (bench / "it.mjs").write_text(snippet)
    return (await run(node(), "it.mjs", cwd=bench)).text


async def _curl(snippet: str, directory: Path) -> str:
    answer = json.loads((await run("sh", "-c", snippet, cwd=directory)).text)
    return str(answer["output"][0]["content"][0]["text"])


async def _env(snippet: str, directory: Path) -> str:
    script = "from openai import OpenAI; print(OpenAI().responses.create(model='m', input='Say hello').output_text)"
    (directory / "it.py").write_text(script)
    return (await run("sh", "-c", f"{snippet}\n'{python(None)}' it.py", cwd=directory)).text


async def _codex(snippet: str, directory: Path) -> str:
    """With a command that the model asks for, and so with two turns."""
    home, work = directory / "codex", directory / "work"
    home.mkdir()
    work.mkdir()
    (home / "config.toml").write_text(snippet)
    key = re.search(r'export IRG_KEY="(\S+)"', snippet)
    assert key is not None
    ran = await run(
        installed("node/node_modules/.bin/codex"),
        # The commands are the simulator's: an echo, in an empty directory.
        *("exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Say hello"),
        cwd=work,
        environment={"CODEX_HOME": str(home), "IRG_KEY": key[1]},
    )
    items = [event["item"] for event in map(json.loads, ran.text.splitlines()) if event["type"] == "item.completed"]
    (command,) = [item for item in items if item["type"] == "command_execution"]
    assert command["aggregated_output"].strip() == "simulated"
    return str([item["text"] for item in items if item["type"] == "agent_message"][-1])


async def _vercel(snippet: str, directory: Path) -> str:
    first, *_, last = (await _node(snippet + VERCEL_TOOL, directory)).splitlines()
    told = json.loads(last)
    assert told["steps"] == 2
    assert "21 degrees in" in told["text"]
    return first


RUNS: dict[str, tuple[Callable[[str, Path], Awaitable[str]], int]] = {  # how it runs, and how many requests it makes
    "python": (_python, 1),
    "node": (_node, 1),
    "curl": (_curl, 1),
    "codex": (_codex, 2),
    "vercel": (_vercel, 3),
    "langchain": (_langchain, 1),
    "env": (_env, 1),
}


@pytest.mark.parametrize("client", SNIPPETS)
async def test_the_printed_snippet_works(gateway: GatewayUnderTest, tmp_path: Path, client: str) -> None:
    """It answers with text, and each of its requests is booked."""
    access = Access(gateway.base_url, await gateway.create_key(), "openai/gpt-4o-mini")
    execute, requests = RUNS[client]
    assert (await execute(SNIPPETS[client].fill(access), tmp_path)).strip()
    rows = await gateway.settled(requests)
    assert [row.state for row in rows] == [State.SETTLED] * requests
