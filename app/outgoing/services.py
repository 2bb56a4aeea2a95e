"""Alerts to any other service (e-mail, Slack, Telegram, …), through Apprise, which is an extra.

The address of a service holds its credentials, so a destination is the path of a file that holds
it. Only the child process that sends reads that file, at every sending. A process of its own:
Apprise's services block, take proxies and passwords from the environment, and log; a process can
be ended in time, given no environment, and not be listened to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from app.accounts.errors import BadValue
from app.accounts.sending import SendFailed
from app.core.alert_texts import message, title
from app.core.alerts import Alert, Destination
from app.outgoing import apprise_child

_CHILD = Path(apprise_child.__file__)

HOW_TO_INSTALL = "Install it where the gateway runs: uv sync --extra alerts (the image has it)."

# Of the environment, what tells where programs and certificates are; no proxies, nobody's home.
_KEPT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")

_FAULTS = {
    apprise_child.UNREADABLE: "its file cannot be read by the gateway",
    apprise_child.NO_ADDRESS: "its file holds no address that Apprise knows (one line, such as mailto://…)",
    apprise_child.NOT_TAKEN: "the service did not take it",
}


class ServiceSender:
    async def check(self, address: str) -> None:
        path = _path(address)
        if path is None:
            raise BadValue("Write the whole path of the file: file:/run/secrets/slack, for example.", param="address")
        if not installed():
            raise BadValue(
                f"Alerts to services other than webhooks need Apprise, which is not installed. {HOW_TO_INSTALL}",
                param="address",
            )
        fault = await _run(path, None)
        if fault is not None:
            raise BadValue(f"Alerts cannot be sent there: {fault}.", param="address")

    async def send(self, destination: Destination, alert: Alert) -> None:
        path = _path(destination.address)
        if path is None or not installed():
            raise SendFailed("needs Apprise, which is not installed (the extra alerts)")
        fault = await _run(path, json.dumps({"title": title(alert), "body": message(alert)}).encode())
        if fault is not None:
            raise SendFailed(fault)


def installed() -> bool:
    return find_spec("apprise") is not None


def _path(address: str) -> str | None:
    """`file:/path` or `file:///path`; None if that is not what it is."""
    path = address.partition(":")[2]
    if path.startswith("//"):
        path = path[2:]
    return path if path.startswith("/") and not path.endswith("/") else None


async def _run(path: str, content: bytes | None) -> str | None:
    """Sends a message, or without one looks whether it could be; what is wrong, None if nothing. Ends in time."""
    # Isolated (-I): neither the working directory nor the environment says what is imported.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-B", str(_CHILD), "check" if content is None else "send", path),
        env={name: os.environ[name] for name in _KEPT if name in os.environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await child.communicate(content)
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return None if child.returncode == 0 else _FAULTS.get(child.returncode or 0, "it could not be sent")
