"""What a command loads, and what it leaves alone: a start that grows is seen in that, without timing anything."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.admin.books import Books
from tests.cli.conftest import Seed
from tests.harness import GatewayUnderTest

ROOT = Path(__file__).parents[2]

# Consoles that nobody looks at; and pydantic 1, which FastAPI would load to find out that nothing of it is here.
NEVER = {"rich", "pygments", "pydantic.v1"}
SERVER = {"fastapi", "starlette", "uvicorn", "sse_starlette"}
LEDGER = {"sqlalchemy", "alembic", "app.store.engine"}
ALL = NEVER | SERVER | LEDGER | {"pydantic", "structlog", "httpx"}

COMMAND = """
import json, sys
from app.cli import main
try:
    main()
except SystemExit as ended:
    print(json.dumps([ended.code, [name for name, module in sys.modules.items() if module]]), file=sys.stderr)
"""

# The same of a gateway that is ready (what it has made until then is frozen), and then ends.
SERVE = """
import gc, json, os, signal, sys
def ready():
    print(json.dumps([0, [name for name, module in sys.modules.items() if module]]), file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)
gc.freeze = ready
from app.cli import main
main()
"""


def loaded(*arguments: str, directory: Path, script: str = COMMAND, code: int = 0, **settings: str) -> set[str]:
    """The modules that a command has loaded when it is done, of a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings},
        capture_output=True,
        timeout=60,
        check=False,
    )
    ended, modules = json.loads(ran.stderr.splitlines()[-1])
    assert ended == code, ran.stderr
    return set(modules)


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_loads_no_command(argument: str, tmp_path: Path) -> None:
    """`irg --help` and `--version` pay for nothing but typer."""
    assert (ALL | {"app.cli.keys", "asyncio", "msgspec"}) & loaded(argument, directory=tmp_path) == set()


def test_health_loads_no_http_client_and_no_database(tmp_path: Path) -> None:
    """Docker asks every few seconds."""
    assert (ALL - {"pydantic"}) & loaded("health", directory=tmp_path, code=1) == set()


@pytest.mark.parametrize("noun", ["keys", "usage"])
def test_a_command_without_a_gateway_loads_no_migrations(noun: str, directory: Path, seed: Seed) -> None:
    """The ledger is there and of this version, which one statement tells; it has nothing to say, so there is no log."""
    seed(nothing)
    modules = loaded(noun, directory=directory, IRG_DATABASE_URL=f"sqlite:///{directory}/gateway.db")
    assert (NEVER | {"alembic", "structlog"}) & modules == set()


async def test_a_command_beside_a_gateway_loads_no_ledger(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    """It asks, and the gateway answers: with the standard library alone."""
    database = gateway.services.settings.database_url
    modules = await asyncio.to_thread(loaded, "keys", directory=tmp_path, IRG_DATABASE_URL=database)
    assert (ALL - {"pydantic"}) & modules == set()


def test_a_gateway_loads_what_it_serves_with(directory: Path, seed: Seed) -> None:
    """When it is ready it has neither consoles nor migrations."""
    seed(nothing)
    modules = loaded(
        *("serve", "--port", "0"),
        directory=directory,
        script=SERVE,
        IMAGEROUTER_API_KEY="upstream-key-0123456789",
        IRG_DATABASE_URL=f"sqlite:///{directory}/gateway.db",
    )
    assert (NEVER | {"alembic"}) & modules == set()
    assert {"fastapi", "uvicorn", "structlog"} <= modules


async def nothing(_books: Books) -> None:
    """The ledger is made."""
