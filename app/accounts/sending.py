"""How alerts leave: the port that senders fill, and one attempt with its limit of time.

The accounts know no HTTP: `wiring` hands them a sender for each kind of destination.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from app.core.alerts import Alert, Destination, DestinationKind

# One attempt, from the name's look-up to the end of the answer.
SEND_SECONDS_MAX = 10.0


class SendFailed(Exception):
    """An attempt failed. The text is fixed: it is kept, logged and shown, and never holds what a receiver said."""

    def __init__(self, reason: str, *, status: int | None = None, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status  # the receiver's HTTP status, if there was one
        self.final = final  # the receiver wants no more of it


class Sender(Protocol):
    async def check(self, address: str) -> None:
        """Whether alerts can be sent there at all, without sending. Raises: `BadValue`, which never quotes it."""
        ...

    async def send(self, destination: Destination, alert: Alert) -> int | None:
        """One attempt; when it returns, the alert has arrived. The HTTP status, if there is one. Raises: `SendFailed`.

        It is cut off by cancelling it.
        """
        ...


Senders = Mapping[DestinationKind, Sender]


async def attempt(senders: Senders, destination: Destination, alert: Alert) -> int | None:
    """`Sender.send` within its time. Raises: `SendFailed`, whatever goes wrong."""
    try:
        async with asyncio.timeout(SEND_SECONDS_MAX):
            return await senders[destination.kind].send(destination, alert)
    except SendFailed:
        raise
    except TimeoutError:
        raise SendFailed(f"did not answer in {SEND_SECONDS_MAX:g} seconds") from None
    except Exception as error:  # a fault of ours must cost this attempt alone, not the alerts behind it
        raise SendFailed(f"could not be sent ({type(error).__name__})") from error
