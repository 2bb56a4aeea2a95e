"""Upgrade and the way back in Docker, with the README's own commands, on the volume of an older version."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import pytest

from app.store.migrate import HEAD
from tests.scenarios.docker.conftest import CANARY, Simulator
from tests.scenarios.docker.engine import Engine
from tests.scenarios.docker.project import KEEP_KEY, ROOT, UP, Project

pytestmark = pytest.mark.scenario

OLDEST = ROOT / "tests/store/released/0.1.0.sql"
USER = 10001


def way_back() -> list[str]:
    """What the README says under "Upgrade and roll back" for Docker."""
    readme = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"^With Docker \(then .*?\):\n\n```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def revision(database: Path) -> str:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        ((found,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    finally:
        connection.close()
    return str(found)


def test_a_volume_of_an_older_version_is_upgraded_and_brought_back(
    engine: Engine, image: str, simulator: Simulator, tmp_path: Path
) -> None:
    """Its rows are there, a copy is made, the log names it; the README's commands put it back as it was."""
    del image
    project = Project.make(engine, tmp_path / "upgraded", simulator.url, CANARY)
    project.typed(KEEP_KEY)
    project.typed("docker compose run --rm --entrypoint true gateway")  # makes the volume
    ledger = project.kept() / "gateway.db"
    connection = sqlite3.connect(ledger)
    connection.executescript(OLDEST.read_text("utf-8"))
    ((rows,),) = connection.execute("SELECT count(*) FROM requests").fetchall()
    connection.close()
    os.chown(ledger, USER, USER)
    ledger.chmod(0o600)
    old = revision(ledger)
    assert old != HEAD

    project.typed(UP)
    project.wait_ready()
    assert len(project.irg("requests", "list", "--limit", "1000")["items"]) == rows
    (told,) = project.lines("ledger_upgraded")
    assert (told["from_schema"], told["to_schema"]) == (old, HEAD)
    assert told["copy"] == f"/data/gateway.db.before-{HEAD}"

    stop, put_back = way_back()
    project.typed(stop)
    assert revision(ledger) == HEAD
    project.typed(put_back)
    assert revision(ledger) == old
    assert revision(ledger.parent / "newer" / "gateway.db") == HEAD
    assert ledger.stat().st_uid == USER
    project.typed("docker compose down --volumes")
