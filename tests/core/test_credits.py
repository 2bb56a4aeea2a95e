"""What is left of the credits, to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.core.credits import remaining_credits


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ('"25.5000"', "25.5000"),
        ('"0.0001"', "0.0001"),
        ('"-0.5000"', "-0.5000"),
        ("25.1", "25.1"),
        ("12", "12"),
        ('"0.1000000000000001"', None),
        ('"1e3"', None),
        ("1e3", None),
        ("NaN", None),
        ("true", None),
        ("null", None),
        ('""', None),
        ('["25"]', None),
    ],
)
def test_an_amount_is_read_exactly_or_not_at_all(told: str, expected: str | None) -> None:
    """No float in between; what is no amount is refused in fixed words."""
    document = f'{{"remaining_credits":{told},"usage_by_api_key":[{{"remaining_credits":"1"}}]}}'.encode()
    if expected is None:
        with pytest.raises(ValueError, match="as an amount"):
            remaining_credits(document)
    else:
        assert str(remaining_credits(document)) == expected
        assert isinstance(remaining_credits(document), Decimal)


@pytest.mark.parametrize("document", [b"", b"<html>", b"[]", b'{"remaining_credits":"1"', b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_told(document: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        remaining_credits(document)


@pytest.mark.parametrize("document", [b"{}", b'{"remaining_credits":"1","remaining_credits":"2"}'])
def test_absent_or_twice_is_no_amount(document: bytes) -> None:
    with pytest.raises(ValueError, match="as an amount"):
        remaining_credits(document)


def test_a_long_answer_about_many_keys_is_read() -> None:
    """An account may have thousands."""
    keys = ",".join(f'{{"api_key_id":"{number}","credit_usage":"1.0000"}}' for number in range(5000))
    document = f'{{"usage_by_api_key":[{keys}],"remaining_credits":"25.5000"}}'.encode()
    assert remaining_credits(document) == Decimal("25.5000")
