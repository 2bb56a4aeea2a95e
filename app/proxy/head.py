"""What the head of a request comes to: who asks, and what of it goes up. Made once for a head that comes again.

The team key is left behind here, and the upstream key put in its place. Called by `endpoint`. What of it is only
true now (whether the key may be used, what the body is) is decided there, for each request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.core.headers import upstream_request_headers
from app.core.keys import hash_secret, parse_bearer
from app.proxy.guard import Connection
from app.proxy.upstream.port import UpstreamHead

# Shorter upstream keys would match by chance inside ordinary answers.
REFLECTION_KEY_BYTES_MIN = 20

HeaderList = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class UpstreamCredential:
    """The shared upstream key. A request keeps the one that it began with: what is sent is what is watched for."""

    key: bytes
    watched: bytes | None = field(init=False)  # what no answer may contain

    def __post_init__(self) -> None:
        object.__setattr__(self, "watched", self.key if len(self.key) >= REFLECTION_KEY_BYTES_MIN else None)

    @property
    def authorization(self) -> bytes:
        return b"Bearer " + self.key

    def __repr__(self) -> str:
        return "UpstreamCredential(…)"


class Head(NamedTuple):
    credential: UpstreamCredential  # which `upward` carries
    secret_hash: str | None  # of the team key that was shown; None: none, or nothing that can be one
    upward: UpstreamHead
    sdk_retry: int
    coding: bytes | None  # in which the body is encoded, if it is


class Heads:
    """Reads heads. `extra`: further headers that the operator lets through."""

    def __init__(self, *, host: bytes, extra: frozenset[bytes]) -> None:
        self._host = host
        self._extra = extra

    def read(self, connection: Connection, headers: HeaderList, credential: UpstreamCredential) -> Head:
        """The head of the request that the connection is at, as it was read before if it was."""
        head: Head | None = connection.facts.get("head")
        if head is None or head.credential is not credential:
            head = connection.facts["head"] = self._read(headers, credential)
        return head

    def _read(self, headers: HeaderList, credential: UpstreamCredential) -> Head:
        secrets = [value for name, value in headers if name == b"authorization"]
        secret = parse_bearer(secrets[0]) if len(secrets) == 1 else None
        upward = upstream_request_headers(
            headers,
            credential=credential.authorization,
            host=self._host,
            extra=self._extra,
        )
        retries = next((value for name, value in headers if name == b"x-stainless-retry-count"), b"")
        return Head(
            credential,
            hash_secret(secret) if secret is not None else None,
            UpstreamHead(upward),
            int(retries) if retries.isdigit() and len(retries) <= 4 else 0,
            next(filter(None, map(_coding, headers)), None),
        )


def _coding(header: tuple[bytes, bytes]) -> bytes | None:
    name, value = header
    coding = value.strip().lower()
    return coding if name == b"content-encoding" and coding not in (b"", b"identity") else None
