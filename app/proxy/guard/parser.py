"""httptools' parser, set up as uvicorn does, for a protocol that never changes to another.

Fact: httptools skips the body of a request that asks for another protocol, and takes it for the next request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import httptools

_OF_AN_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


class Events(Protocol):
    """What the parser tells, as far as it is named here."""

    def deaf_to_upgrade(self, rest: bytes) -> None: ...


class Parser(httptools.HttpRequestParser):
    def __init__(self, protocol: Events) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._protocol.deaf_to_upgrade(bytes(data[upgrade.args[0] :]))


def without_upgrade(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The headers of a request that did not ask for another protocol."""
    for name, value in headers:
        if name == b"connection":
            kept = [token for token in value.split(b",") if token.strip().lower() not in _OF_AN_UPGRADE]
            yield name, b",".join(kept)
        elif name not in _OF_AN_UPGRADE:
            yield name, value
