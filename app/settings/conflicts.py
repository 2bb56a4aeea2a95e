"""What only the values together show: settings that are fine alone and not beside each other. Called by `model`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.core.value import Value
from app.settings import checks

if TYPE_CHECKING:
    from app.settings.model import Settings


class Conflict(Value, frozen=True):
    """Two settings that are fine alone and not together. `fields[0]` is the one to name first."""

    fields: tuple[str, ...]
    sentence: str


class ConflictsError(ValueError):
    """Every conflict of one set of values."""

    def __init__(self, found: list[Conflict]) -> None:
        super().__init__("; ".join(conflict.sentence for conflict in found))
        self.found = found


def conflicts(settings: Settings) -> list[Conflict]:
    """What only the values together show."""
    found = []
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        lone, missing = ("cert", "key") if settings.tls_cert_file is not None else ("key", "cert")
        sentence = f"does not work alone: set IRG_TLS_{missing.upper()}_FILE as well"
        found.append(Conflict((f"tls_{lone}_file", f"tls_{missing}_file"), sentence))
    upstream = urlsplit(settings.upstream_url)
    if (
        upstream.scheme == "http"
        and not settings.allow_plain_upstream
        and not checks.is_loopback(upstream.hostname or "")
    ):
        found.append(
            Conflict(
                ("upstream_url", "allow_plain_upstream"),
                "would send the upstream key unencrypted: write https://, or set IRG_ALLOW_PLAIN_UPSTREAM=true "
                "if the network is yours",
            )
        )
    if settings.upstream_proxy is not None and settings.upstream_transport == "direct":
        sentence = "needs the other HTTP client: set IRG_UPSTREAM_TRANSPORT=httpx as well"
        found.append(Conflict(("upstream_proxy", "upstream_transport"), sentence))
    if settings.bodies_bytes_max < settings.request_bytes_max:
        found.append(
            Conflict(
                ("bodies_bytes_max", "request_bytes_max"),
                "is less than IRG_REQUEST_BYTES_MAX: the largest request could never be read. Raise it, or lower that",
            )
        )
    if misplaced := _misplaced_ceiling(settings):
        found.append(Conflict(("hold_ceilings",), misplaced))
    return found


def _misplaced_ceiling(settings: Settings) -> str | None:
    """What is wrong with the order of `hold_ceilings`, if anything is."""
    patterns = [pattern for pattern, _ in settings.hold_ceilings]
    swallowed = next((pattern for pattern in patterns if pattern in type(settings).model_fields), None)
    if swallowed is not None:
        return f"names {swallowed}, which is a setting: a table takes all lines below it. Move it to the file's end"
    if hidden := checks.unreachable(patterns):
        return f"names {hidden[0]} behind {hidden[1]}, which matches it first: write it before that"
    return None
