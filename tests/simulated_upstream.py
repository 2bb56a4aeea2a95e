"""A simulator as it really runs: a child process behind a real socket, with its bill on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from app.simulator.bill import Bill
from app.simulator.child import SimulatorChild

RESPONSES = "/v1/openai/responses"

# Behaviours that take long by nature, as quick as they can be asked to be.
QUICK = {
    "sim/slow": "sim/slow:1",
    "sim/stream-pause": "sim/stream-pause:1",
    "sim/dribble": "sim/dribble:1",
    "sim/big-event": "sim/big-event:1",
}


@dataclass(frozen=True)
class Streamed:
    """A streamed answer, read to whatever end it had."""

    status: int
    content: bytes
    cut: bool  # the connection ended inside the framing

    @property
    def frames(self) -> list[bytes]:
        return [frame for frame in self.content.split(b"\n\n") if frame]

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [line for frame in self.frames for line in frame.splitlines() if line.startswith(b"data: {")]
        return [json.loads(line.removeprefix(b"data: ")) for line in lines]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


class SimulatorUnderTest:
    def __init__(self, child: SimulatorChild, client: httpx.AsyncClient) -> None:
        self.child = child
        self.client = client

    @property
    def url(self) -> str:
        return self.child.url

    def bill(self) -> Bill:
        return self.child.bill()

    async def post(self, model: str, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        return await self.client.post(RESPONSES, json=body_for(model, fields), headers=headers)

    async def stream(self, model: str, **fields: Any) -> Streamed:
        received, cut, status = b"", False, 0
        try:
            async with self.client.stream("POST", RESPONSES, json=body_for(model, fields) | {"stream": True}) as answer:
                status = answer.status_code
                async for chunk in answer.aiter_raw():
                    received += chunk
        except httpx.RemoteProtocolError:
            cut = True
        return Streamed(status, received, cut)


def body_for(model: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "input": "Say hello", **fields}
