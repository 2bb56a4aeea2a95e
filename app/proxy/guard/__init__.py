"""The client's connection: what uvicorn's protocol lacks, in limits, deadlines and strictness.

Start with `protocol`, and `closing` below it: how answers leave. `connection` is what an exchange sees of it, `framing`
keeps one request apart from the next, `flow` tells whether the client takes what is written, `places` counts
connections, `refusal` writes an answer where no request came about.
"""

from app.proxy.guard.connection import CHUNK_FORMAT, EXTENSION, Connection, Message, connection_of
from app.proxy.guard.limits import Limits
from app.proxy.guard.places import Places
from app.proxy.guard.protocol import GuardProtocol, guard_protocol

__all__ = [
    "CHUNK_FORMAT",
    "EXTENSION",
    "Connection",
    "GuardProtocol",
    "Limits",
    "Message",
    "Places",
    "connection_of",
    "guard_protocol",
]
