"""What of an address may be seen."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.core.alerts import Destination, DestinationKind, shown_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://example.com/hooks/SECRET?token=SECRET#SECRET", "https://example.com"),
        ("http://127.0.0.1:8099/SECRET", "http://127.0.0.1:8099"),
        ("https://user:SECRET@example.com/", "https://example.com"),
        ("https://[::1]:8443/SECRET", "https://[::1]:8443"),
        ("file:/run/SECRET/mail", "file:…/mail"),
        ("file:///run/SECRET/mail", "file:…/mail"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(address: str, shown: str) -> None:
    """Scheme and host, or a file's bare name; and a destination never shows it by accident."""
    assert shown_address(address) == shown
    destination = Destination("dst_1", "ops", DestinationKind.WEBHOOK, address, datetime(2026, 11, 23, tzinfo=UTC))
    assert destination.shown == shown
    assert "SECRET" not in repr(destination)
