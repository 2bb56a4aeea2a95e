"""What makes a value unusable: one function per kind of value, each with the sentence that mends it.

Called by `model`; some also by its neighbours and by webhooks. A message goes on after "IRG_X …", names what to
write, and never repeats the value: it may be a secret that somebody put into the wrong setting.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from app.core.headers import may_be_forwarded
from app.core.money import AMOUNT_USD_MAX, parse_usd
from app.core.patterns import model_allowed

ADMIN_TOKEN_CHARACTERS_MIN = 32

# What whoever scans for gateways tries first, in every combination: these words, and what people put around them.
_GUESSED = re.compile(
    r"change|me|secret|password|passwd|admin|token|default|test|example|replace|please|your|this|with|here|gateway"
    r"|imagerouter|irg|key|characters?|long|least|qwerty|letmein|[\W_]"
)
_COUNTED = ("0123456789" * 20, "1234567890" * 20, "0123456789abcdef" * 20, "abcdefghijklmnopqrstuvwxyz" * 20)
_UNGUESSED_CHARACTERS_MIN = 12
_DIFFERENT_CHARACTERS_MIN = 7

# A service link of Kubernetes: `IRG_PORT=tcp://10.0.0.1:8000`.
_PORT_OF_A_SERVICE = re.compile(r"(tcp|udp)://")

_HOST = re.compile(r"[0-9A-Za-z:._%-]+")

_CEILINGS = (
    "must be models, or globs of them, and amounts in USD: openai/gpt-5=0.50, *=2 in a variable, "
    '{ "openai/gpt-5" = "0.50", "*" = "2" } in the settings file'
)


class TomlFloat(float):
    """A number with a point in the settings file; an amount is read from how it was written."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> TomlFloat:
        made = super().__new__(cls, text)
        made.text = text
        return made


def upstream_key(value: SecretStr) -> SecretStr:
    if not _is_one_printable_word(value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces or line breaks: write the key alone")
    return value


def team_key(value: SecretStr) -> SecretStr:
    if not _is_one_printable_word(value.get_secret_value()):
        raise ValueError("must be a team key alone: it starts with irg_ and has no spaces or line breaks")
    return value


def admin_token(value: SecretStr) -> SecretStr:
    """Refuses what could be guessed; a token of any generator passes."""
    text = value.get_secret_value()
    if len(text) < ADMIN_TOKEN_CHARACTERS_MIN or not _is_one_printable_word(text):
        raise ValueError(
            f"must be at least {ADMIN_TOKEN_CHARACTERS_MIN} printable ASCII characters without spaces: "
            "leave it out, and one is made at the first start"
        )
    if text.startswith("irg_"):
        raise ValueError("is a team key, which never opens the admin API: leave it out, and a token is made")
    if _is_guessed(text.lower()):
        raise ValueError("is easily guessed: leave it out, and one is made at the first start")
    return value


def port(value: object) -> object:
    if isinstance(value, str) and _PORT_OF_A_SERVICE.match(value):
        raise ValueError(
            "is an address, not a port: Kubernetes sets it for a Service named irg. Write enableServiceLinks: false "
            "into the pod's specification"
        )
    return number(value)


def number(value: object) -> object:
    """TOML's `true` is no number, although it is one to Python."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "must be a number")
    return value


def host(value: str) -> str:
    if _HOST.fullmatch(value) is None:
        raise ValueError("must be an address or a name alone, such as 127.0.0.1 or 0.0.0.0")
    return value


def upstream_url(value: str) -> str:
    """The upstream's origin; a path in front of /v1 is allowed, as some proxies have one."""
    url = http_url(value, example="https://api.imagerouter.io")
    if re.search(r"/v\d+(/openai(/responses)?)?$", urlsplit(url).path):
        raise ValueError("must end before /v1, which the gateway adds: write https://api.imagerouter.io")
    return url


def origin_url(value: str) -> str:
    url = http_url(value, example="https://gateway.example.com")
    if urlsplit(url).path:
        raise ValueError("must not have a path: write https://gateway.example.com")
    return url


def proxy_url(value: str) -> str:
    """May hold credentials; only their holder sees them."""
    parts = _split(value, "http://proxy.example.com:3128")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must not have a path: write http://proxy.example.com:3128")
    return value.rstrip("/")


def http_url(value: str, *, example: str) -> str:
    parts = _split(value, example)
    if "@" in parts.netloc:
        raise ValueError(f"must not hold credentials: they have settings of their own. Write {example}")
    if parts.query or parts.fragment:
        raise ValueError(f"must not have a query or a fragment: write {example}")
    return value.rstrip("/")


def database_url(value: str) -> str:
    if value.startswith(("postgresql:", "postgresql+", "postgres:")):
        raise ValueError(
            "names PostgreSQL, but this version keeps its ledger in SQLite: write sqlite:///data/gateway.db"
        )
    path = value.removeprefix("sqlite:///")
    if path == value or not path or path.endswith("/") or "?" in path or path.startswith(":memory:"):
        raise ValueError("must be sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return value


def zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(value, available_timezones(), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else "write an IANA name such as UTC or Europe/Berlin"
        raise ValueError(f"is not a time zone: {hint}") from None
    return value


def usd(value: object) -> str:
    """An amount as decimal text; no float is ever asked for its value."""
    text = _amount(value)
    if text is None:
        raise ValueError(
            f"must be an amount in USD, at most {AMOUNT_USD_MAX}: write digits with at most 12 decimals, such as 0.05"
        )
    return text


def usd_above_nothing(value: object) -> str:
    text = _amount(value)
    if text is None or parse_usd(text) == 0:
        raise ValueError(
            f"must be an amount in USD above 0, at most {AMOUNT_USD_MAX}: write digits with at most 12 decimals, such "
            "as 20 or 12.50"
        )
    return text


def ceilings(value: object) -> tuple[tuple[str, str], ...]:
    """Pairs of a glob and an amount in the order written."""
    pairs: list[tuple[str, str]] = []
    for pattern, told in _pairs(value):
        if not pattern or not pattern.isprintable() or " " in pattern:
            raise ValueError(_CEILINGS)
        amount = _amount(told)
        if amount is None:
            raise ValueError(
                f"gives {pattern} no amount in USD, at most {AMOUNT_USD_MAX} and with at most 12 decimals: write one "
                "such as 0.50"
            )
        pairs.append((pattern, amount))
    return tuple(pairs)


def _pairs(value: object) -> list[tuple[str, object]]:
    if isinstance(value, str):
        parts = (part.rpartition("=") for part in value.split(",") if part.strip())
        return [(pattern.strip(), amount.strip()) for pattern, _, amount in parts]
    if isinstance(value, Mapping):
        return [(str(pattern), amount) for pattern, amount in value.items()]
    if isinstance(value, tuple):  # the default, or read before
        return list(value)
    raise ValueError(_CEILINGS)


def _amount(value: object) -> str | None:
    """The decimal text of an amount, as it was written; None if it is none."""
    text = value.text if isinstance(value, TomlFloat) else str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | TomlFloat):
        return None
    try:
        parse_usd(text)
    except ValueError:
        return None
    return text


def unreachable(patterns: Sequence[str]) -> tuple[str, str] | None:
    """A glob that never is the first to match, and the one before it that is; as far as that is easily seen."""
    for number, pattern in enumerate(patterns):
        for earlier in patterns[:number]:
            # `?` and `[…]` match one character, which may be a glob's own.
            plain = "?" not in earlier and "[" not in earlier
            if earlier == pattern or (plain and model_allowed(pattern, [earlier])):
                return pattern, earlier
    return None


def names(value: object) -> object:
    """`a, b` as a variable holds a list."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def forwardable(headers: tuple[str, ...]) -> tuple[str, ...]:
    lower = tuple(dict.fromkeys(name.lower() for name in headers))
    for name in lower:
        if not may_be_forwarded(name.encode("utf-8")):
            raise ValueError(f"names {name!r}, which never goes to the upstream: take it off the list")
    return lower


def lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def readable_file(value: Path) -> Path:
    try:
        value.open("rb").close()
    except OSError as error:
        raise ValueError(f"names {value}, which cannot be read ({error.strerror})") from None
    return value


def pem_file(value: Path) -> Path:
    """A file of certificates or keys in the form that OpenSSL reads."""
    if b"-----BEGIN " not in readable_file(value).read_bytes():
        raise ValueError(f"names {value}, which is not a PEM file (it has no line -----BEGIN …-----)")
    return value


def is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _split(value: str, example: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"must be a URL: write one such as {example}")
    return parts


def _is_guessed(text: str) -> bool:
    rest = _GUESSED.sub("", text)
    if len(rest) < _UNGUESSED_CHARACTERS_MIN or len(set(rest)) < _DIFFERENT_CHARACTERS_MIN:
        return True
    return any(rest in counted for counted in _COUNTED)


def _is_one_printable_word(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
