"""Team keys: how a secret is made, recognised and hashed. It is shown once; only its hash is stored.

`irg_` + 10 characters of public id + 52 of secret (256 bits) + 7 of checksum (CRC-32), all in
lower-case Crockford base32. The checksum only spares a look-up for a mistyped key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from hmac import compare_digest

PREFIX = "irg_"

# So much of a secret may be shown: the prefix and the beginning of the public id.
SHOWN_CHARACTERS = len(PREFIX) + 8

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PUBLIC, _SECRET, _CHECKSUM = 10, 52, 7
_SHAPE = re.compile(rf"irg_[{_ALPHABET}]{{{_PUBLIC + _SECRET + _CHECKSUM}}}")
_BEARER = re.compile(rb"[Bb]earer +(irg_[0-9a-z]+) *")


@dataclass(frozen=True, slots=True)
class TeamSecret:
    text: str = field(repr=False)
    prefix: str  # may be shown: `irg_02ff9k3m`
    hash: str


def new_secret() -> TeamSecret:
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_PUBLIC + _SECRET))
    text = PREFIX + body + _checksum(body)
    return TeamSecret(text, text[:SHOWN_CHARACTERS], hash_secret(text))


def is_secret(text: str) -> bool:
    """True for a well-formed secret with its right checksum; says nothing about whether it is known."""
    if _SHAPE.fullmatch(text) is None:
        return False
    body, checksum = text[len(PREFIX) : -_CHECKSUM], text[-_CHECKSUM:]
    return compare_digest(_checksum(body), checksum)


def hash_secret(text: str) -> str:
    """SHA-256 in hex. No slow hash: a secret has 256 random bits, nothing to guess."""
    return hashlib.sha256(text.encode()).hexdigest()


def parse_bearer(value: bytes | None) -> str | None:
    """The well-formed secret of an Authorization header, else None."""
    found = _BEARER.fullmatch(value) if value is not None and len(value) <= 200 else None
    if found is None:
        return None
    text = found[1].decode("ascii")
    return text if is_secret(text) else None


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode("ascii"))
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(30, -1, -5))
