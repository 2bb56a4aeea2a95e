"""Signed webhooks after the Standard Webhooks specification: the secret, the signature, the headers.

Pure. A receiver computes the same signature from the body as it came; libraries for most
languages do that with the secret as it is shown. The id stays the same however often a message
is sent: whoever has seen it drops the double.
Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

MASTER_BYTES = 32

_PREFIX = "whsec_"


def signing_secret(master: bytes, destination_id: str) -> bytes:
    """The 32 bytes that sign what goes to one destination; who knows them learns nothing of the others'."""
    return hmac.digest(master, destination_id.encode(), hashlib.sha256)


def secret_text(secret: bytes) -> str:
    """A secret as receivers are given it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secret).decode()


def webhook_headers(secret: bytes, webhook_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    """`timestamp_seconds`: of this attempt, since 1970; receivers refuse what is older than some minutes."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp_seconds, body)
    signature = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": f"v1,{signature}",
    }
