"""Signatures that any library for Standard Webhooks accepts."""

from __future__ import annotations

import base64

from app.core.webhooks import secret_text, signing_secret, webhook_headers


def test_the_example_of_the_specification_is_signed_as_it_says() -> None:
    """Source: the worked example of the specification's reference libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = webhook_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert secret_text(secret) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_percent_sign_in_a_body_is_only_that() -> None:
    """Whatever bytes are signed, they are signed as they are."""
    one, other = (webhook_headers(b"k" * 32, "alr_1", 1, body) for body in (b"100 %d", b"100 %s"))
    assert one["webhook-signature"] != other["webhook-signature"]


def test_every_destination_has_its_own_secret() -> None:
    """32 bytes, always the same for one, of no use for another."""
    master = bytes(range(32))
    first, again, other = (signing_secret(master, ident) for ident in ("dst_1", "dst_1", "dst_2"))
    assert first == again != other
    assert len(first) == 32
    assert signing_secret(bytes(32), "dst_1") != first
