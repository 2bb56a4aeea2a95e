"""Receivers that need no network: they take, refuse or keep waiting what they are told to."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta

from app.accounts.errors import BadValue
from app.core.alerts import Alert, Destination

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **span: float) -> None:
        self.at += timedelta(**span)


class Receiver:
    """`failures`: what the next attempts raise, `None` for one that arrives; `go`: cleared, it keeps them waiting."""

    def __init__(self, *, failures: list[Exception | None] | None = None) -> None:
        self.failures = deque(failures or [])
        self.seen: list[tuple[str, str]] = []  # destination, alert id; of every attempt
        self.cut = 0
        self.go = asyncio.Event()
        self.go.set()

    async def check(self, address: str) -> None:
        if "bad" in address:
            raise BadValue("This is a bad address.", param="address")

    async def send(self, destination: Destination, alert: Alert) -> int | None:
        self.seen.append((destination.name, alert.id))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        if self.failures and (failure := self.failures.popleft()) is not None:
            raise failure
        return 204


class Secrets:
    """Signs with what it was made of; `away`: the file is not there."""

    def __init__(self) -> None:
        self.made = 0
        self.fault: Exception | None = None

    def ensure(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.made += 1

    def of(self, destination_id: str) -> bytes:
        if self.fault is not None:
            raise self.fault
        return destination_id.encode()
