"""How much a connection may ask of the gateway before it has asked for anything that is paid for."""

from __future__ import annotations

from app.core.addresses import Network
from app.core.value import Value
from app.proxy.guard.places import Places

# A client that reads nothing holds at most this much of an answer in our memory, and what waits for the turn's end.
WRITE_BUFFER_BYTES_MAX = 12 * 1024

# After a cut the last bytes may still be on their way; a client that takes none is dropped.
CUT_LINGER_SECONDS = 10.0

# From its first byte, and of the first one from the connection's beginning on, a head may take so long.
HEAD_SECONDS_MAX = 5.0

# What is left of a body when its request has been answered: so much, and so long, is read on, lest a reset take the
# answer away; and if it was more than the last of these, the connection closes all the same.
LEFTOVER_BYTES_MAX = 1024 * 1024
LEFTOVER_SECONDS_MAX = 1.0
LEFTOVER_KEPT_BYTES_MAX = 64 * 1024

# An answer would be lost to a reset if the connection closed while its client still writes.
CLOSE_LINGER_SECONDS = 1.0

# What comes behind a request before its answer waits in memory up to here, then in the network.
HELD_BYTES_MAX = 64 * 1024


class Limits(Value, frozen=True):
    """What the operator sets."""

    places: Places
    trusted_proxies: tuple[Network, ...]
    stall_seconds: float  # a client that takes nothing of its answer so long is dropped
