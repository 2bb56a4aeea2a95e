"""`irg demo`: a gateway before a simulated upstream, three team keys and some traffic; gone without a trace.

It reads no settings of this machine and keeps its ledger in a directory of its own, so it can
neither spend money nor touch a real ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as json_text
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from app.cli.frame import Failure, at_work, without_consoles
from app.core.value import Value

if TYPE_CHECKING:
    from app.server import Ready
    from app.settings import Settings
    from app.simulator.child import SimulatorChild

# Not the name of a real ledger: a demo that is kept in a directory in use touches nothing there.
DATABASE_NAME = "demo.db"
BILL_NAME = "demo-bill.jsonl"
LOG_NAME = "demo.log"

_GRACE_SECONDS = 5


class Demo(Value, frozen=True):
    """What is told when the demo is ready."""

    url: str
    upstream_url: str
    admin_token: str
    secrets: dict[str, str]  # by key name
    directory: Path

    def line(self) -> str:
        return json_text.dumps(
            {
                "url": self.url,
                "upstream_url": self.upstream_url,
                "admin_token": self.admin_token,
                "keys": [{"name": name, "secret": secret} for name, secret in self.secrets.items()],
                "pid": os.getpid(),
                "bill": str(self.directory / BILL_NAME),
            }
        )

    def page(self) -> str:
        secret = next(iter(self.secrets.values()))
        width = max(map(len, self.secrets))
        keys = "\n".join(f"  {name:<{width}}  {text}" for name, text in self.secrets.items())
        return _PAGE.format(url=self.url, admin_token=self.admin_token, secret=secret, keys=keys)


_PAGE = """\
ImageRouter Gateway, demo: {url}
Everything is simulated: no upstream key, no cost. Ctrl-C ends it and removes it.

Team keys
{keys}

With curl
  curl {url}/v1/openai/responses \\
    -H "Authorization: Bearer {secret}" \\
    -H "Content-Type: application/json" \\
    -d '{{"model": "openai/gpt-4o-mini", "input": "Say hello"}}'

With Python (pip install openai)
  from openai import OpenAI

  client = OpenAI(base_url="{url}/v1/openai", api_key="{secret}")
  print(client.responses.create(model="openai/gpt-4o-mini", input="Say hello").output_text)

What it cost whom, in another terminal (the weeks before today are invented, and tagged so)
  export IRG_URL={url} IRG_ADMIN_TOKEN={admin_token}
  uv run irg usage
  uv run irg requests tail
"""


def demo(
    port: Annotated[int, typer.Option(help="The port to listen on; 0 = any free one.", min=0, max=65_535)] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on; in a container, 0.0.0.0.")] = "127.0.0.1",
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep ledger, bill and log in this directory.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready.")] = False,
) -> None:
    """Try everything at once: a gateway, a simulated upstream, three team keys, some traffic. Costs nothing."""
    with _Ending() as ending, contextlib.ExitStack() as made:
        from app.simulator.child import SimulatorChild

        upstream_key = f"demo-{secrets.token_hex(16)}"
        with ending.held():
            directory = made.enter_context(_directory(keep))
            simulator = made.enter_context(SimulatorChild(directory / BILL_NAME, expected_key=upstream_key))
        _run(simulator, upstream_key, (host, port), directory, json=json)


def _run(simulator: SimulatorChild, upstream_key: str, listen: tuple[str, int], directory: Path, *, json: bool) -> None:
    """Raises: `Failure`."""
    # The heavy imports come while the simulator starts.
    with without_consoles():
        import httpx  # noqa: F401 - the demo calls its gateway with it
        import structlog  # noqa: F401
        import uvloop

        from app.cli.demo_history import invent_history
        from app.core.clock import now
        from app.store.port import StoreError
        from app.telemetry import configure

    admin_token = secrets.token_urlsafe(32)
    with (directory / LOG_NAME).open("a", encoding="utf-8") as log:
        configure("info", secrets=[upstream_key, admin_token], stream=log)
        try:
            settings = _settings(simulator.url, upstream_key, listen, directory)
            invent_history(settings.database_path, now())
            uvloop.run(_serve(settings, admin_token, directory, json=json))
        except (StoreError, OSError) as error:
            text = error.strerror if isinstance(error, OSError) else None
            raise Failure(f"The demo cannot start: {text or error}.") from None


def _settings(upstream_url: str, upstream_key: str, listen: tuple[str, int], directory: Path) -> Settings:
    """Every setting is a default or given here: neither environment nor files are read."""
    from app.settings import Settings

    return Settings.model_validate(
        {
            "imagerouter_api_key": upstream_key,
            "upstream_url": upstream_url,
            "database_url": f"sqlite:///{directory.absolute() / DATABASE_NAME}",
            "host": listen[0],
            "port": listen[1],
            "shutdown_grace_seconds": _GRACE_SECONDS,
        }
    )


async def _serve(settings: Settings, admin_token: str, directory: Path, *, json: bool) -> None:
    """Serves until a signal. What goes wrong while keys are made ends the demo too, and is raised."""
    from app.server import serve_gateway
    from app.settings import AdminToken

    playing: list[asyncio.Task[None]] = []

    def on_ready(ready: Ready) -> None:
        at_work()
        playing.append(asyncio.create_task(_play(ready, admin_token, directory, json=json)))

    await serve_gateway(settings, admin_token=AdminToken(admin_token), on_ready=on_ready)
    await asyncio.gather(*playing)


async def _play(ready: Ready, admin_token: str, directory: Path, *, json: bool) -> None:
    """Makes the keys, says what there is, and then plays the team until the end begins."""
    from app.cli.demo_traffic import trickle

    try:
        team_secrets = await _team_keys(ready)
        services = ready.gateway.services
        url = services.settings.base_url  # what clients can use, also where every address is listened on
        told = Demo(url, services.settings.upstream_url, admin_token, team_secrets, directory)
        typer.echo(told.line() if json else told.page())
        sys.stdout.flush()
        await trickle(url, list(team_secrets.values()), until=services.closing)
    except BaseException:
        ready.stop()
        raise


async def _team_keys(ready: Ready) -> dict[str, str]:
    """Secrets by name, made anew: nobody knows those of the history's keys, or of a kept demo's."""
    from app.cli.demo_history import HABITS

    keyring = ready.gateway.services.keyring
    return {habit.name: (await keyring.rotate(habit.name))[1] for habit in HABITS}


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """Where the demo lives: a fresh directory that is removed at the end, or the one to keep."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="irg-demo-", ignore_cleanup_errors=True) as fresh:
            yield Path(fresh)
        return
    try:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{keep} cannot be used ({error.strerror}): choose another with --keep.") from None
    yield keep.absolute()


class _Ending:
    """A signal before the gateway takes signals itself, or after it, unwinds as well: child and directory go."""

    def __init__(self) -> None:
        self._holding = self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._leave) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, disposition in self._before.items():
            signal.signal(number, disposition)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A signal waits: what is half made could not be taken back."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._asked:
            raise SystemExit(0)

    def _leave(self, number: int, frame: object) -> None:
        del number, frame
        self._asked = True
        if not self._holding:
            raise SystemExit(0)
