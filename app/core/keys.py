"""Team keys: how a secret is made, recognised and hashed. It is shown once; only its hash is stored.

`irg_` + 10 characters of public id + 52 of secret (256 bits) + 7 of checksum (CRC-32), all in
lower-case Crockford base32. The checksum only spares a look-up for a mistyped key.
Must not live here: which keys exist, which are active. Called by the keyring and the command line.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from hmac import compare_digest

PREFIX = "irg_"

# So much of a secret may be shown: the prefix and the beginning of the public id (contract: `irg_02ff…`).
SHOWN_CHARACTERS = len(PREFIX) + 4

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PUBLIC, _SECRET, _CHECKSUM = 10, 52, 7
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_SHAPE_TEXT = rf"irg_[{_ALPHABET}]{{{_PUBLIC + _SECRET + _CHECKSUM}}}"
_SHAPE = re.compile(_SHAPE_TEXT)
_LIKE_A_SECRET = re.compile(rf"irg_[{_ALPHABET}]{{20,}}")  # also one that was mistyped or cut
_BEARER = re.compile(rf"(?i:bearer) +({_SHAPE_TEXT})[ \t]*".encode())  # a scheme has no case (RFC 9110 §11.1)


@dataclass(frozen=True, slots=True)
class TeamSecret:
    """A new secret, on its way to the one who asked for it; only `prefix` and `hash` are kept."""

    text: str = field(repr=False)
    prefix: str  # may be shown: `irg_02ff`
    hash: str = field(repr=False)


def new_secret() -> TeamSecret:
    """A secret nobody has seen yet, from the operating system's randomness."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_PUBLIC + _SECRET))
    text = PREFIX + body + _checksum(body)
    return TeamSecret(text, text[:SHOWN_CHARACTERS], hash_secret(text))


def known_secret(text: str) -> TeamSecret:
    """A secret that another gateway made. Raises: `ValueError` when it is none; the text is in no message."""
    if not is_secret(text):
        raise ValueError("not a team key's secret")
    return TeamSecret(text, text[:SHOWN_CHARACTERS], hash_secret(text))


def is_secret(text: str) -> bool:
    """True for a well-formed secret with its right checksum; says nothing about whether it is known."""
    return _SHAPE.fullmatch(text) is not None and _is_checked(text)


def shown_text(text: str) -> str:
    """A person's word as it may be said back: of a secret that was given for a name, only what may be shown."""
    return _LIKE_A_SECRET.sub(lambda found: f"{found[0][:SHOWN_CHARACTERS]}…", text)


def hash_secret(text: str) -> str:
    """SHA-256 in hex. No slow hash: a secret has 256 random bits, nothing to guess."""
    return hashlib.sha256(text.encode()).hexdigest()


def parse_bearer(value: bytes | None) -> str | None:
    """The well-formed secret of an Authorization header, else None."""
    found = _BEARER.fullmatch(value) if value is not None else None
    if found is None:
        return None
    text = found[1].decode("ascii")
    return text if _is_checked(text) else None


def _is_checked(text: str) -> bool:
    return compare_digest(_checksum(text[len(PREFIX) : -_CHECKSUM]), text[-_CHECKSUM:])


def _checksum(body: str) -> str:
    """CRC-32: finds every single wrong character and every swap of two neighbours."""
    value = zlib.crc32(body.encode("ascii"))
    pairs = _PAIRS
    return _ALPHABET[value >> 30] + pairs[value >> 20 & 1023] + pairs[value >> 10 & 1023] + pairs[value & 1023]
