"""Lists of addresses and networks, as `checks` judges values. Called by `model` alone."""

from __future__ import annotations

from app.core.addresses import parse_network


def networks(told: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and CIDRs, each once, as they were written."""
    try:
        for text in told:
            parse_network(text)
    except ValueError:
        raise ValueError(
            "must be addresses or networks without bits behind their prefix: write them as 10.0.0.0/8, 192.168.1.7"
        ) from None
    return tuple(dict.fromkeys(told))
