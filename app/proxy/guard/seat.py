"""One connection's place among all, and the address that it counts under: its peer's, or the one a proxy names."""

from __future__ import annotations

from app.core.addresses import Network, client_address, is_listed, limited_by, parse_address
from app.core.errors import ApiError, overloaded, too_many_connections
from app.proxy.guard.places import Place, Places

# What needs a place of its own; health and administration are answered without one.
DATA_PLANE = b"/v1/"


class Seat:
    """Taken when a connection is made, left once. `peer`: as the socket tells it; None: the gateway's own socket."""

    def __init__(self, places: Places, trusted: tuple[Network, ...], peer: str | None) -> None:
        self._places = places
        self._trusted = trusted
        self._counted: str | None = None
        self._peer = parse_address(peer) if peer is not None else None
        self.client: str | None = None  # what limits per address count this request under; None: they do not
        self._proxied = self._peer is not None and is_listed(self._peer, trusted)
        if self._peer is not None and not self._proxied:
            self.client = self._counted = limited_by(self._peer, trusted)
        self._needed = peer is not None
        self.place = places.enter(self._counted) if self._needed else Place.OPEN

    def fault(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> ApiError | None:
        """Why there is no room for this request. Its client is known from here on."""
        if self._proxied and self._peer is not None:
            self.client = limited_by(client_address(self._peer, headers, self._trusted), self._trusted)
            if not self._move(self.client) and target.startswith(DATA_PLANE):
                return too_many_connections(self._places.per_client_max)
        if self.place is Place.OPEN or not target.startswith(DATA_PLANE):
            return None
        return overloaded() if self.place is Place.FULL else too_many_connections(self._places.per_client_max)

    def answered(self) -> None:
        """A proxy's connection is nobody's until the next request."""
        if self._proxied:
            self._move(None)

    def leave(self) -> None:
        if self._needed and self.place is not Place.NONE:
            self._needed = False
            self._places.leave(self._counted)

    def _move(self, client: str | None) -> bool:
        before, self._counted = self._counted, client
        return self._places.move(before, client)
