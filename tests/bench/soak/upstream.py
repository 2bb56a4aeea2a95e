"""The soak's upstream: quick, faulty where it is asked to be, with a bill of everything it has seen.

    python -m tests.bench.soak.upstream          prints "listening PORT"

What a request gets stands in its model (`MODELS`). Every answer that is told whole states a cost of its own, so that
sums of costs tell whether one is missing or twice there. `GET /bill` tells, model by model, how many requests came,
and what those cost whose answers were written to their end, in 10⁻¹² USD.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import socket
import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import cast

import uvloop

PAUSE_SECONDS = 0.002

# A stream is told in so many writes, a pause between two.
WRITES = 3
DELTAS = 4  # in each

COSTS = 1_000_003  # a prime: costs repeat only after so many answers
CHARGE_STEP = 100_000_000  # 1/10,000 USD

NO_LINGERING = struct.pack("ii", 1, 0)  # a close is a reset

_MODEL = re.compile(rb'"model": ?"soak/([a-z0-9-]+)"')
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: ?(\d+)\r\n")


class Model(StrEnum):
    JSON = "json"
    STREAM = "stream"
    ERROR = "error"  # 500, no cost
    RESET = "reset"  # once the request is there
    BROKEN_JSON = "broken-json"  # ends inside its body
    BROKEN_STREAM = "broken-stream"  # ends between two events
    STALL = "stall"  # a stream that falls silent

    @property
    def good(self) -> bool:
        return self in (Model.JSON, Model.STREAM)


@dataclass
class Account:
    """What came for one model, and what the answers cost that were written to their end."""

    seen: int = 0
    told: int = 0
    true_cost: int = 0
    charged: int = 0


class Bill:
    def __init__(self) -> None:
        self.accounts: defaultdict[str, Account] = defaultdict(Account)
        self._serials = itertools.count(1)

    def next_cost(self) -> tuple[int, int]:
        """A serial number, and a cost that goes with it."""
        serial = next(self._serials)
        return serial, serial * 7919 % COSTS * 1000 + 1000

    def told(self, model: Model, cost: int) -> None:
        account = self.accounts[model]
        account.told += 1
        account.true_cost += cost
        account.charged += -(-cost // CHARGE_STEP) * CHARGE_STEP

    def text(self) -> bytes:
        return json.dumps({model: asdict(account) for model, account in self.accounts.items()}).encode()


def decimal(picodollars: int) -> str:
    return f"{picodollars // 10**12}.{picodollars % 10**12:012d}"


def usage(cost: int) -> str:
    return f'{{"input_tokens":12,"output_tokens":24,"total_tokens":36,"cost":{decimal(cost)}}}'


def json_answer(serial: int, cost: int) -> bytes:
    charged = decimal(-(-cost // CHARGE_STEP) * CHARGE_STEP)
    body = (
        f'{{"id":"resp_{serial:024d}","object":"response","model":"soak/json","status":"completed","error":null,'
        f'"output":[{{"type":"message","id":"msg_{serial:024d}","role":"assistant","content":'
        f'[{{"type":"output_text","text":"{"x" * 200}"}}]}}],"usage":{usage(cost)},"cost":{charged}}}'
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def event(kind: str, rest: str) -> bytes:
    return f'event: {kind}\ndata: {{"type":"{kind}",{rest}}}\n\n'.encode()


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def stream_writes(serial: int, cost: int) -> list[bytes]:
    """A whole stream; each of these is written at once."""
    ident = f'"id":"resp_{serial:024d}","object":"response","model":"soak/stream"'
    created = event("response.created", f'"sequence_number":0,"response":{{{ident},"status":"in_progress"}}')
    writes = [STREAM_HEAD + chunk(created)]
    for number in range(1, WRITES * DELTAS + 1):
        rest = f'"sequence_number":{number},"item_id":"msg_{serial:024d}","delta":"some words"'
        delta = event("response.output_text.delta", rest)
        if number % DELTAS == 1 and number > 1:
            writes.append(b"")
        writes[-1] += chunk(delta)
    ended = f'{ident},"status":"completed","error":null,"output":[],"usage":{usage(cost)}'
    writes[-1] += chunk(event("response.completed", f'"sequence_number":99,"response":{{{ended}}}')) + b"0\r\n\r\n"
    return writes


ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 58\r\n\r\n"
    b'{"error":{"message":"it fell over","type":"server_error"}}'
)


class Connection(asyncio.Protocol):
    def __init__(self, bill: Bill) -> None:
        self._bill = bill
        self._in = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, content: bytes) -> None:
        self._in += content
        end = self._in.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._in, 0, end + 2)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._in) >= whole:
            request, self._in = self._in[:whole], self._in[whole:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET /bill "):
            text = self._bill.text()
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            return
        found = _MODEL.search(request)
        if found is None:  # the list of models is asked for
            self._write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        model = Model(found[1].decode())
        self._bill.accounts[model].seen += 1
        serial, cost = self._bill.next_cost()
        if model is Model.JSON:
            if self._write(json_answer(serial, cost)):
                self._bill.told(model, cost)
        elif model is Model.STREAM:
            self._stream(stream_writes(serial, cost), lambda: self._bill.told(model, cost))
        elif model is Model.ERROR:
            self._write(ERROR)
        else:
            self._fail(model, serial, cost)

    def _fail(self, model: Model, serial: int, cost: int) -> None:
        if model is Model.BROKEN_JSON:
            self._write(json_answer(serial, cost)[:400])
        elif model in (Model.BROKEN_STREAM, Model.STALL):
            self._write(stream_writes(serial, cost)[0])
        if model is not Model.STALL and self._transport is not None:
            if model is Model.RESET:
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
            self._transport.close()

    def _stream(self, writes: list[bytes], done: Callable[[], None]) -> None:
        if not self._write(writes[0]):
            return
        if len(writes) > 1:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._stream, writes[1:], done)
        else:
            done()

    def _write(self, content: bytes) -> bool:
        """False when the connection has gone."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(content)
        return True


async def main() -> None:
    bill = Bill()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(bill), "127.0.0.1", 0, backlog=4096)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
