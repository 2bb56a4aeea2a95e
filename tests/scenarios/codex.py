"""The Codex CLI, for the tests that run it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.scenarios.tools import CLIENTS, Ran, installed, run

Retries = tuple[int, int]  # of a request, and of a whole answer

VERSION_FILE = "node/node_modules/@openai/codex/package.json"


async def codex(directory: Path, target: dict[str, str], *options: str, retries: Retries | None = (0, 0)) -> Ran:
    """One task in an empty directory, with a configuration of its own. `retries` None: as many as Codex likes."""
    home, work = Path(tempfile.mkdtemp(dir=directory)), Path(tempfile.mkdtemp(dir=directory))
    configuration = (CLIENTS / "codex.toml").read_text("utf-8").replace("BASE_URL", target["base_url"])
    if retries is not None:
        configuration += "request_max_retries = {}\nstream_max_retries = {}\n".format(*retries)
    (home / "config.toml").write_text(configuration, "utf-8")
    return await run(
        installed("node/node_modules/.bin/codex"),
        *("exec", "--json", "--skip-git-repo-check", *options, "Say hello"),
        cwd=work,
        environment={"CODEX_HOME": str(home), "TEAM_KEY": target["api_key"]},
    )


def codex_version() -> str:
    return str(json.loads(installed(VERSION_FILE).read_text("utf-8"))["version"])
