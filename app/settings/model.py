"""Every setting: its type, bounds, default and description. No reading of files or environment here.

A field is named as its variable without `IRG_`, in lower case; units are in the names. What a
value must be is in `checks`; who reads values is `doors`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.core.addresses import Network, parse_network
from app.core.money import parse_usd
from app.settings import checks
from app.settings.conflicts import ConflictsError, conflicts
from app.settings.networks import networks

Seconds = Annotated[float, BeforeValidator(checks.number), Field(gt=0, le=86_400)]
SecondsOrNone = Annotated[float, BeforeValidator(checks.number), Field(ge=0, le=86_400)]
Whole = Annotated[int, BeforeValidator(checks.number)]
PemFile = Annotated[Path, AfterValidator(checks.pem_file)]
OriginUrl = Annotated[str, AfterValidator(checks.origin_url)]


class Settings(BaseSettings):
    """All settings, checked. Made by `load_settings`; tests may make one of plain values."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    imagerouter_api_key: Annotated[SecretStr, AfterValidator(checks.upstream_key)] | None = Field(
        None, description="The shared upstream key. Never shown again anywhere.", examples=["..."]
    )
    upstream_url: Annotated[str, AfterValidator(checks.upstream_url)] = Field(
        "https://api.imagerouter.io",
        description="The upstream. `http://` only to loopback, or with `IRG_ALLOW_PLAIN_UPSTREAM=true`.",
    )
    upstream_transport: Literal["direct", "httpx"] = Field(
        "direct", description="Which HTTP client speaks to the upstream: the quick one, or the one that knows proxies."
    )
    upstream_proxy: Annotated[str, AfterValidator(checks.proxy_url)] | None = Field(
        None,
        description="An HTTP proxy on the way to the upstream, with the transport `httpx`. "
        "Proxies of the environment are not used.",
        examples=["http://proxy.example.com:3128"],
        repr=False,  # it may hold a password
    )
    upstream_ca_file: PemFile | None = Field(
        None,
        description="Certificates to trust for the upstream (PEM), instead of the operating system's.",
        examples=["/etc/ssl/private-ca.pem"],
    )
    allow_plain_upstream: bool = Field(False, description="Allow `http://` to an upstream that is not loopback.")
    connect_timeout_seconds: Seconds = Field(10, description="How long connecting to the upstream may take.")
    upstream_timeout_seconds: Seconds = Field(900, description="How long the upstream may take to its first byte.")
    upstream_idle_seconds: Seconds = Field(600, description="How long an answer may be silent between two bytes.")
    upstream_keepalive_seconds: SecondsOrNone = Field(
        4, description="How long an idle upstream connection is kept for reuse."
    )
    forward_headers: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(checks.names), AfterValidator(checks.forwardable)
    ] = Field(
        (),
        description="Further request headers to let through to the upstream; in a variable, separated by commas.",
        examples=[["x-my-header"]],
    )

    host: Annotated[str, AfterValidator(checks.host)] = Field(
        "127.0.0.1", description="The address to listen on. The image sets `0.0.0.0`."
    )
    port: Annotated[int, BeforeValidator(checks.port), Field(ge=0, le=65_535)] = Field(
        8000, description="The port to listen on; 0 = any free one."
    )
    public_url: OriginUrl | None = Field(
        None,
        description="How clients reach the gateway, for messages and snippets. Unset: from host and port.",
        examples=["https://gateway.example.com"],
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(checks.names), AfterValidator(networks)] = (
        Field(
            (),
            description="Addresses and networks (CIDR) of proxies whose `X-Forwarded-For` tells who the client is; "
            "in a variable, separated by commas.",
            examples=[["10.0.0.0/8"]],
        )
    )
    tls_cert_file: PemFile | None = Field(
        None, description="Certificate (PEM) to serve HTTPS without a proxy.", examples=["/etc/ssl/gateway.pem"]
    )
    tls_key_file: PemFile | None = Field(
        None, description="The certificate's private key (PEM).", examples=["/etc/ssl/gateway.key"]
    )
    admin_token: Annotated[SecretStr, AfterValidator(checks.admin_token)] | None = Field(
        None,
        description="Opens the admin API. Unset: made at the first start, in `admin-token` beside the database.",
        examples=["..."],
    )

    request_bytes_max: Whole = Field(67_108_864, ge=1024, le=2**31, description="The largest request body.")
    bodies_bytes_max: Whole = Field(
        536_870_912, ge=1024, le=2**40, description="All request bodies in memory together."
    )
    answers_bytes_max: Whole = Field(
        536_870_912,
        ge=1_048_576,
        le=2**40,
        description="What is kept of large answers in memory together, to read their costs; one answer at a time may "
        "go beyond. One without room waits for it; after 30 seconds its cost stays unknown.",
    )
    concurrency_max: Whole = Field(1000, ge=1, le=1_000_000, description="Requests in flight at once.")
    connections_max: Whole = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="Client connections at once; 64 more are answered only what is not under `/v1/` (health, admin).",
    )
    connections_per_address_max: Whole = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Client connections of one address at once; 0 = no limit. An address of a private network counts "
        "only if `IRG_TRUSTED_PROXIES` lists it.",
    )
    on_client_disconnect: Annotated[Literal["drain", "cancel"], BeforeValidator(checks.lower)] = Field(
        "drain",
        description="A client left: `drain` reads its answer to the end, so that its cost is known; `cancel` cuts it.",
    )
    client_gone_seconds: Seconds = Field(900, description="How long an abandoned answer is read on.")
    client_stall_seconds: Seconds = Field(
        300, description="How long a client may stop reading, or sending its request, before it is dropped."
    )
    stream_error_event: bool = Field(
        True, description="After an upstream break, end a stream with one `error` event before it is cut."
    )
    references_scope: Annotated[Literal["key", "team"], BeforeValidator(checks.lower)] = Field(
        "key", description="What a request may refer to: what its own key made, or any key of its team."
    )
    unknown_references: Annotated[Literal["refuse", "allow"], BeforeValidator(checks.lower)] = Field(
        "refuse", description="References to what the gateway never saw being made, such as files and prompts."
    )
    references_days: Whole = Field(
        90, ge=1, le=36_500, description="How long it is remembered who made what: at least as long as it is stored."
    )
    allow_conversations: bool = Field(
        False, description="Let `conversation` through, although nobody can tell whose conversation it is."
    )
    allow_background: bool = Field(
        False, description="Let `background: true` through, although its cost is then mostly unknown."
    )

    shutdown_delay_seconds: SecondsOrNone = Field(
        0, description="How long to go on listening after a signal, for load balancers to notice."
    )
    shutdown_grace_seconds: SecondsOrNone = Field(60, description="How long running answers may go on after that.")

    database_url: Annotated[str, AfterValidator(checks.database_url)] = Field(
        "sqlite:///data/gateway.db",
        description="Where the ledger lives: `sqlite:///relative` or `sqlite:////absolute`.",
    )
    durability: Annotated[Literal["process", "power"], BeforeValidator(checks.lower)] = Field(
        "process", description="`process`: a killed process loses nothing. `power`: nor does a power cut."
    )
    settle_wait_seconds: Seconds = Field(
        2, description="How long the end of an answer waits for its cost's commit before the spool takes it."
    )
    retention_days: Whole | None = Field(
        None,
        ge=1,
        le=36_500,
        description="How long the rows of a month's requests are kept after its end; then they are let go of, and "
        "their sums stay. Unset: for ever.",
        examples=[400],
    )
    timezone: Annotated[str, AfterValidator(checks.zone)] = Field(
        "UTC", description="The calendar of budget windows and reports (IANA)."
    )

    billing: Annotated[Literal["charged", "true_cost"], BeforeValidator(checks.lower)] = Field(
        "charged", description="Which of a request's two costs counts against budgets; the other one if it is unknown."
    )
    unknown_counts: Annotated[Literal["hold", "nothing"], BeforeValidator(checks.lower)] = Field(
        "hold",
        description="What an unknown cost counts against budgets: what was held for it, or nothing. "
        "(An upstream's 5xx without a cost never counts.)",
    )
    hold_default_usd: Annotated[str, BeforeValidator(checks.usd)] = Field(
        "0.05",
        description="What a budget sets aside for a request while neither its key's earlier costs of the model nor "
        "the model's prices are known.",
    )
    hold_ceilings: Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(checks.ceilings)] = Field(
        (),
        description="The most that is set aside for one request, by model: names or globs and USD, of which the first "
        "that matches counts. In a variable: `openai/gpt-5=0.50, *=2`.",
        examples=[{"openai/gpt-5": "0.50", "*": "2"}],
    )

    credits_low_usd: Annotated[str, BeforeValidator(checks.usd_above_nothing)] | None = Field(
        None,
        description="Raise an alert when the upstream's credits are below this. Unset: they are not asked for.",
        examples=[20],
    )
    allow_plain_alerts: bool = Field(False, description="Allow `http://` to a webhook that is not loopback.")

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(checks.lower)] = Field(
        "info", description="How much is logged; a closed request is a line at `info`."
    )
    front: Annotated[Literal["on", "off"], BeforeValidator(checks.lower)] = Field(
        "on", description="`off` sends every request through FastAPI's router (for tests)."
    )

    url: OriginUrl | None = Field(
        None,
        description="For commands: the gateway to talk to, with `IRG_ADMIN_TOKEN`. Unset: the one on this machine.",
        examples=["https://gateway.example.com"],
    )
    key: Annotated[SecretStr, AfterValidator(checks.team_key)] | None = Field(
        None, description="For commands: a team key.", examples=["irg_..."]
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values come from `load_settings` alone: pydantic's own sources tell no origin and ignore misspelt names."""
        return (init_settings,)

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if found := conflicts(self):
            raise ConflictsError(found)
        return self

    @property
    def database_path(self) -> Path:
        """Absolute; a relative one is relative to the working directory."""
        return Path(self.database_url.removeprefix("sqlite:///")).absolute()

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        return tuple(map(parse_network, self.trusted_proxies))

    @property
    def hold_default_picodollars(self) -> int:
        return parse_usd(self.hold_default_usd)

    @property
    def hold_ceilings_picodollars(self) -> tuple[tuple[str, int], ...]:
        """Of the globs that match a model, the first one's amount holds."""
        return tuple((pattern, parse_usd(amount)) for pattern, amount in self.hold_ceilings)

    @property
    def state_dir(self) -> Path:
        """Where the database, its spool and the admin token live."""
        return self.database_path.parent

    def secret_texts(self) -> list[str]:
        """What no log may hold: every secret, and a proxy's credentials as they are written and as they are sent."""
        values = (getattr(self, name) for name in type(self).model_fields)
        secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        credentials = urlsplit(self.upstream_proxy or "").netloc.rpartition("@")[0]
        password = credentials.partition(":")[2]
        return [text for text in (*secrets, credentials, password, unquote(password)) if text]

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
