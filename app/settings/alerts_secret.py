"""What signs alerts: one secret beside the database, of which every destination's own is derived.

The database holds none of them, so a copy of it opens nothing. Made when the first destination
is added. It is never made anew by itself: every receiver would refuse what comes then.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path

from app.core.webhooks import MASTER_BYTES, signing_secret
from app.settings.faults import SettingsError
from app.settings.model import Settings
from app.settings.secret_file import new_file, put_first


class AlertsSecret:
    """The file is read when it is needed: a destination may be added by another process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"AlertsSecret({self._path})"

    def ensure(self) -> None:
        """Makes it, unless it is there. Raises: `OSError`, `SettingsError`."""
        if not self._path.exists():
            put_first(new_file(self._path, base64.b64encode(secrets.token_bytes(MASTER_BYTES)).decode()), self._path)
        self._master()

    def of(self, destination_id: str) -> bytes:
        """The secret of one destination. Raises: `SettingsError` if the file is away or spoilt."""
        return signing_secret(self._master(), destination_id)

    def _master(self) -> bytes:
        try:
            master = base64.b64decode(self._path.read_bytes().strip(), validate=True)
        except (OSError, binascii.Error):
            master = b""
        if len(master) != MASTER_BYTES:
            raise SettingsError(
                [
                    f"{self._path} does not hold the secret that signs alerts. Put it back from a copy, or remove that "
                    "file and all destinations, and add these again."
                ]
            )
        return master


def secret_path(settings: Settings) -> Path:
    return settings.state_dir / "alerts-secret"


def alerts_secret(settings: Settings) -> AlertsSecret:
    return AlertsSecret(secret_path(settings))
