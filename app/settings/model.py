"""Every setting: its type, bounds, default and description. No reading of files or environment here.

A field is named as its variable without `IRG_`, in lower case; units are in the names.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.core.headers import may_be_forwarded

# Tokens that stand in examples everywhere; whoever scans for gateways tries them first.
WELL_KNOWN_TOKENS = frozenset({"changeme", "change-me", "secret", "password", "admin", "token", "default", "test"})

_PORT_OF_A_SERVICE = re.compile(r"tcp://")


def _upstream_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces or line breaks")
    return value


def _port(value: object) -> object:
    if isinstance(value, str) and _PORT_OF_A_SERVICE.match(value):
        raise ValueError(
            "is an address, not a port: Kubernetes sets it for a Service named irg. Write `enableServiceLinks: false` "
            "into the pod's specification"
        )
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as https://api.imagerouter.io")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return value.rstrip("/")


def _url_without_credentials(value: str) -> str:
    if "@" in urlsplit(value).netloc:
        raise ValueError("must not hold credentials: they have settings of their own")
    return _http_url(value)


def _database_url(value: str) -> str:
    if value.startswith(("postgresql:", "postgres:")):
        raise ValueError("names PostgreSQL, but this version keeps its ledger in SQLite: write sqlite:///data/gateway.db")
    if not value.startswith("sqlite:///") or len(value) <= len("sqlite:///") or "?" in value:
        raise ValueError("must be sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("is not a time zone: write an IANA name such as UTC or Europe/Berlin") from None
    return value


def _names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _forwardable(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not may_be_forwarded(name.lower().encode("utf-8")):
            raise ValueError(f"names {name!r}, which never goes to the upstream: take it off the list")
    return tuple(name.lower() for name in names)


def _admin_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < 32 or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be at least 32 printable ASCII characters without spaces: irg admin-token makes one")
    if len(set(text)) < 8 or any(text.lower().replace(word, "") == "" for word in WELL_KNOWN_TOKENS):
        raise ValueError("is easily guessed: leave it out, and one is made")
    return value


def _readable_file(value: Path) -> Path:
    try:
        value.open("rb").close()
    except OSError as error:
        raise ValueError(f"{value} cannot be read ({error.strerror})") from None
    return value


Seconds = Annotated[float, Field(gt=0, le=86_400)]
ReadableFile = Annotated[Path, AfterValidator(_readable_file)]


class Settings(BaseSettings):
    """All settings, checked. Made by `load_settings`; tests may make one of plain values."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    imagerouter_api_key: Annotated[SecretStr, AfterValidator(_upstream_key)] | None = Field(
        None, description="The shared upstream key. Never shown again anywhere."
    )
    upstream_url: Annotated[str, AfterValidator(_url_without_credentials)] = Field(
        "https://api.imagerouter.io",
        description="The upstream. `http://` only to loopback, or with `IRG_ALLOW_PLAIN_UPSTREAM`.",
    )
    upstream_transport: Literal["httpx"] = Field("httpx", description="Which HTTP client speaks to the upstream.")
    upstream_proxy: Annotated[str, AfterValidator(_http_url)] | None = Field(
        None, description="An HTTP proxy on the way to the upstream. Proxies of the environment are not used."
    )
    upstream_ca_file: ReadableFile | None = Field(
        None, description="Certificates to trust for the upstream (PEM), instead of the operating system's."
    )
    allow_plain_upstream: bool = Field(False, description="Allow `http://` to an upstream that is not loopback.")
    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        "sqlite:///data/gateway.db", description="Where the ledger lives: `sqlite:///relative` or `sqlite:////absolute`."
    )
    host: str = Field("127.0.0.1", description="The address to listen on. The image sets `0.0.0.0`.", min_length=1)
    port: Annotated[int, BeforeValidator(_port)] = Field(
        8000, ge=0, le=65_535, description="The port to listen on; 0 = any free one."
    )
    public_url: Annotated[str, AfterValidator(_url_without_credentials)] | None = Field(
        None, description="How clients reach the gateway, for messages and snippets. Unset: from host and port."
    )
    tls_cert_file: ReadableFile | None = Field(None, description="Certificate (PEM) to serve HTTPS without a proxy.")
    tls_key_file: ReadableFile | None = Field(None, description="The certificate's private key (PEM).")
    admin_token: Annotated[SecretStr, AfterValidator(_admin_token)] | None = Field(
        None, description="Opens the admin API. Unset: made at the first start, in `admin-token` beside the database."
    )
    connect_timeout_seconds: Seconds = Field(10, description="How long connecting to the upstream may take.")
    upstream_timeout_seconds: Seconds = Field(900, description="How long the upstream may take to its first byte.")
    upstream_idle_seconds: Seconds = Field(600, description="How long an answer may be silent between two bytes.")
    upstream_keepalive_seconds: float = Field(
        4, ge=0, le=3600, description="How long an idle upstream connection is kept for reuse."
    )
    on_client_disconnect: Literal["drain", "cancel"] = Field(
        "drain", description="A client left: read its answer to the end (its cost stays known), or cut the upstream."
    )
    client_gone_seconds: Seconds = Field(900, description="How long an abandoned answer is read on.")
    client_stall_seconds: Seconds = Field(300, description="How long a client may stop reading before it is dropped.")
    shutdown_delay_seconds: float = Field(
        0, ge=0, le=3600, description="How long to go on listening after a signal, for load balancers to notice."
    )
    shutdown_grace_seconds: float = Field(
        60, ge=0, le=86_400, description="How long running answers may go on after that."
    )
    settle_wait_seconds: Seconds = Field(
        2, description="How long the end of an answer waits for its cost's commit before the spool takes it."
    )
    request_bytes_max: int = Field(67_108_864, ge=1024, le=2**31, description="The largest request body.")
    bodies_bytes_max: int = Field(536_870_912, ge=1024, le=2**40, description="All request bodies in memory together.")
    concurrency_max: int = Field(1000, ge=1, le=1_000_000, description="Requests in flight at once, in this process.")
    forward_headers: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_names), AfterValidator(_forwardable)
    ] = Field((), description="Further request headers to let through to the upstream, separated by commas.")
    allow_conversations: bool = Field(
        False, description="Let `conversation` through although nobody can tell whose conversation it is."
    )
    stream_error_event: bool = Field(
        True, description="After an upstream break, end a stream with one `error` event before it is cut."
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="The calendar of reports.")
    durability: Literal["process", "power"] = Field(
        "process", description="`process`: a killed process loses nothing. `power`: nor does a power cut."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    front: Literal["on", "off"] = Field(
        "on", description="`off` sends every request through FastAPI's router (for tests)."
    )
    url: Annotated[str, AfterValidator(_url_without_credentials)] | None = Field(
        None, description="For commands: the gateway to talk to, with `IRG_ADMIN_TOKEN`. Unset: the one on this machine."
    )
    key: SecretStr | None = Field(None, description="For commands: a team key.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values come from `load_settings` alone, which knows where each was set."""
        return (init_settings,)

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("IRG_TLS_CERT_FILE and IRG_TLS_KEY_FILE go together: set both or none")
        parts = urlsplit(self.upstream_url)
        if parts.scheme == "http" and not self.allow_plain_upstream and not _is_loopback(parts.hostname or ""):
            raise ValueError(
                "IRG_UPSTREAM_URL would send the upstream key unencrypted: write https://, or set "
                "IRG_ALLOW_PLAIN_UPSTREAM=true if the network is yours"
            )
        return self

    @property
    def database_path(self) -> Path:
        """Absolute; a relative one is relative to the working directory."""
        return Path(self.database_url.removeprefix("sqlite:///")).absolute()

    @property
    def state_dir(self) -> Path:
        """Where the database, its spool and the admin token live."""
        return self.database_path.parent

    @property
    def base_url(self) -> str:
        """How clients reach the gateway, without a path."""
        if self.public_url is not None:
            return self.public_url
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls_cert_file else 'http'}://{host}:{self.port}"


def variable_of(field: str) -> str:
    """The environment variable of a setting."""
    return "IMAGEROUTER_API_KEY" if field == "imagerouter_api_key" else f"IRG_{field.upper()}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
