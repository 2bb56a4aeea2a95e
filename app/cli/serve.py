"""`irg serve`: the gateway itself, until a signal ends it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.frame import Code, Config, Failure, at_work, settings, without_consoles

if TYPE_CHECKING:
    from app.server import Ready
    from app.settings import AdminToken, Loaded, Settings

# Until it is ready next to nothing is looked through for garbage: to do so every 50,000 objects was 7 % of its start.
LOADING = 1_000_000


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 0 = any free one.")] = None,
    config: Config = None,
) -> None:
    """Run the gateway. Logs are JSON lines; SIGTERM lets running answers end, SIGHUP reads the upstream key anew."""
    from app.signals import end_on_terminate

    gc.set_threshold(LOADING)
    end_on_terminate()
    with without_consoles():
        import structlog  # noqa: F401 - a gateway has something to say
        import uvloop

        from app.server import serve_gateway
        from app.store.port import StoreError
        from app.telemetry import configure, get_logger

    read = partial(settings, {"host": host, "port": port}, config=config)
    loaded = read()
    if loaded.settings.imagerouter_api_key is None:
        raise Failure(
            "IMAGEROUTER_API_KEY is not set: it is the upstream key that the team shares.\n"
            "Set it (or IMAGEROUTER_API_KEY_FILE), or try `irg demo`, which needs none.",
            Code.SETTINGS,
        )
    token, made = _token(loaded.settings)
    secrets = [*loaded.settings.secret_texts(), token.current()]
    configure(loaded.settings.log_level, secrets=secrets)
    log = get_logger("serve")
    for warning in loaded.warnings:
        log.warning("settings", message=warning)
    if made is not None:
        log.info("admin_token_made", path=str(made))
    read_key = partial(_key_now, read, secrets)
    try:
        uvloop.run(serve_gateway(loaded.settings, admin_token=token, on_ready=_ready, read_key=read_key))
    except (StoreError, OSError) as error:
        raise Failure(_sentence(error)) from None


def _ready(ready: Ready) -> None:
    del ready
    at_work()


def _token(values: Settings) -> tuple[AdminToken, Path | None]:
    """The admin token, and its file if this start made it. Raises: `Failure`."""
    from app.settings import running_admin_token

    try:
        return running_admin_token(values)
    except OSError as error:
        raise Failure(f"The admin token cannot be kept in {values.state_dir} ({error.strerror}).") from None


def _key_now(read: Callable[[], Loaded], secrets: list[str]) -> bytes | None:
    """The upstream key as it is set now, None if it is not or the settings are at fault. No log may hold it either."""
    from app.settings import SettingsError
    from app.telemetry import configure

    try:
        values = read().settings
    except SettingsError:
        return None
    if values.imagerouter_api_key is None:
        return None
    key = values.imagerouter_api_key.get_secret_value()
    secrets.append(key)
    configure(values.log_level, secrets=secrets)
    return key.encode()


def _sentence(error: Exception) -> str:
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
