"""What a request's head comes to, read once for a head that comes again."""

from __future__ import annotations

import pytest

from app.core.keys import hash_secret, new_secret
from app.proxy.guard import Connection
from app.proxy.head import REFLECTION_KEY_BYTES_MIN, Heads, UpstreamCredential

HEADS = Heads(host=b"up.example", extra=frozenset())
CREDENTIAL = UpstreamCredential(b"k" * REFLECTION_KEY_BYTES_MIN)
SECRET = new_secret()


@pytest.mark.parametrize(
    ("codings", "expected"),
    [
        ([], None),
        *(([coding], None) for coding in (b"", b"identity", b" Identity ")),
        ([b" GZIP "], b"gzip"),
        ([b"identity", b"br", b"gzip"], b"br"),
    ],
)
def test_the_bodys_encoding_is_told_if_it_has_one(codings: list[bytes], expected: bytes | None) -> None:
    """However it is written."""
    headers = [(b"content-encoding", coding) for coding in codings]
    assert HEADS.read(Connection(), headers, CREDENTIAL).coding == expected


def test_a_head_is_read_once_for_each_upstream_key() -> None:
    """A key that is renewed meanwhile goes up with the next request."""
    connection = Connection()
    headers = [(b"authorization", b"Bearer " + SECRET.text.encode())]
    first = HEADS.read(connection, headers, CREDENTIAL)
    assert first.secret_hash == hash_secret(SECRET.text) == SECRET.hash
    assert HEADS.read(connection, headers, CREDENTIAL) is first
    renewed = UpstreamCredential(b"another-upstream-key")
    again = HEADS.read(connection, headers, renewed)
    assert (b"authorization", b"Bearer another-upstream-key") in again.upward.headers


def test_a_key_that_is_short_is_not_watched_for() -> None:
    """It would be found in ordinary answers by chance."""
    assert CREDENTIAL.watched == CREDENTIAL.key
    assert UpstreamCredential(b"k" * (REFLECTION_KEY_BYTES_MIN - 1)).watched is None
    assert "kkkk" not in repr(CREDENTIAL)
