"""Whose request it is: nobody can give himself another address, and no network counts as one client."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.addresses import client_address, is_listed, limited_by, parse_address, parse_network

TRUSTED = (parse_network("10.0.0.0/8"), parse_network("2001:db8:1::/48"))
PROXY = ipaddress.ip_address("10.1.2.3")

ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", None),
        ("", None),
        ("192.0.2", None),
        ("_hidden", None),
    ],
)
def test_an_address_is_read_as_proxies_write_it(told: str, address: str | None) -> None:
    """With or without a port; IPv4 in an IPv6 socket is IPv4."""
    assert parse_address(told) == (ipaddress.ip_address(address) if address else None)


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.5, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.5, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.5", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["203.0.113.5, junk, 10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", ["10.7.7.7, 10.8.8.8"], "10.7.7.7"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
    ],
)
def test_the_right_most_untrusted_address_is_the_clients(peer: str, lines: list[str], client: str) -> None:
    """What stands left of it, anybody could have written."""
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    assert client_address(ipaddress.ip_address(peer), headers, TRUSTED) == ipaddress.ip_address(client)


@given(st.lists(ADDRESSES.map(str) | st.text(max_size=20)), ADDRESSES)
def test_nobody_gives_himself_another_address(forged: list[str], client: ipaddress.IPv4Address) -> None:
    """Whatever a client writes, the proxy adds the address that it saw, and that one counts."""
    if is_listed(client, TRUSTED):
        return
    line = ", ".join([*forged, str(client)]).encode("latin-1", "replace")
    found = client_address(PROXY, [(b"x-forwarded-for", line)], TRUSTED)
    assert found == parse_address(str(client))
    assert client_address(client, [(b"x-forwarded-for", line)], TRUSTED) == client


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("192.168.1.1", None),
        ("172.17.0.1", None),
        ("127.0.0.1", None),
        ("100.64.0.1", None),
        ("fd00::1", None),
        ("10.1.2.3", "10.1.2.3"),
        ("2a00:1450:4001:82f::200e", "2a00:1450:4001:82f::/64"),
    ],
)
def test_a_private_address_is_not_one_client_unless_it_is_listed(address: str, counted: str | None) -> None:
    """A whole office may stand behind it. Of IPv6, a host has as many addresses as it wants."""
    assert limited_by(ipaddress.ip_address(address), TRUSTED) == counted
