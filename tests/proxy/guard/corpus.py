"""The corpus of odd requests: read from `corpus.txt`, sent over a socket, compared with what it tells.

A case's bodies carry its number, so many cases may run at once and each finds its own at the upstream.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from tests.harness import RESPONSES, Reply
from tests.scripted_upstream import SeenRequest

TABLE = Path(__file__).with_name("corpus.txt")

_ESCAPE = re.compile(r"\\(r|n|t|0|\\|x[0-9a-f]{2})")
_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


@dataclass(frozen=True)
class Case:
    number: int
    about: str
    sent: str
    told: str
    seen: str

    @property
    def body(self) -> str:
        return self.model_body("b")

    def model_body(self, kind: str) -> str:
        """Sixteen bytes."""
        return f'{{"model":"{kind}{self.number:03}"}}'

    def request(self, secret: str, *, host: str = "gateway") -> bytes:
        """What goes over the wire."""
        top = f"POST {RESPONSES} HTTP/1.1\r\n"
        key, named = f"Authorization: Bearer {secret}\r\n", f"Host: {host}\r\n"

        def whole(kind: str) -> str:
            return f"{top}{named}{key}Content-Length: 16\r\n\r\n{self.model_body(kind)}"

        words = {
            "TOP": top + named + key,
            "POST": top,
            "HOST": named,
            "KEY": key,
            "B": self.body,
            "LEN": "Content-Length: 16\r\n",
            "CHUNKED": "Transfer-Encoding: chunked\r\n",
            "ONE": f"10\r\n{self.body}\r\n",
            "END": "0\r\n\r\n",
            "NEXT": whole("n"),
            "HIDDEN": whole("x"),
            "HIDDEN#": str(len(whole("x"))),
        }
        plain = _ESCAPE.sub(lambda found: _plain(found[1]), self.sent)
        return re.sub(r"\{([A-Z]+#?)\}", lambda found: words[found[1]], plain).encode("latin-1")

    @property
    def seen_bodies(self) -> list[bytes]:
        if self.seen == "-":
            return []
        kinds = {"B": self.body, "NEXT": self.model_body("n")}
        plain = (_ESCAPE.sub(lambda found: _plain(found[1]), word) for word in self.seen.split(" "))
        return [re.sub("B|NEXT", lambda found: kinds[found[0]], word).encode() for word in plain]

    @property
    def statuses(self) -> list[int]:
        return [int(word) for word in self.told.split(" ")[:-1]]

    @property
    def closed(self) -> bool:
        return self.told.endswith(" closed")

    def among(self, requests: list[SeenRequest]) -> list[bytes]:
        """The bodies of this case that an upstream saw."""
        mark = f'{self.number:03}"}}'.encode()
        return [request.body for request in requests if mark in request.body]


def _plain(escape: str) -> str:
    return chr(int(escape[1:], 16)) if escape.startswith("x") else _PLAIN[escape]


def corpus() -> list[Case]:
    cases: list[Case] = []
    fields: dict[str, str] = {}
    for number, line in enumerate(TABLE.read_text("utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        name, _, value = line.partition(": ")
        assert name in ("case", "send", "told", "seen"), f"corpus.txt:{number}: {line}"
        fields[name] = value
        if name == "seen":
            cases.append(Case(len(cases), fields["case"], fields["send"], fields["told"], fields["seen"]))
            fields.clear()
    assert not fields
    return cases


async def answers(reply: Reply, count: int, timeout: float) -> list[int]:
    """Statuses of so many answers, or of fewer where the connection ends; errors must be in OpenAI's shape."""
    statuses: list[int] = []
    while len(statuses) < count:
        try:
            await reply.read_head(timeout)
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        statuses.append(reply.status)
        if reply.status >= 400:
            assert (await reply.json())["error"]["message"]
            assert reply.header("x-error-source") == "gateway"
        elif reply.status >= 200:
            await reply.body(timeout)
    return statuses


async def is_closed(reply: Reply, timeout: float) -> bool:
    """Whether nothing more comes; else the connection must serve another request."""
    if reply.writer.transport.is_closing():
        return True
    try:
        reply.writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await reply.read_head(timeout)
    except (asyncio.IncompleteReadError, ConnectionError):
        return True
    assert reply.status == 200, f"{reply.status} behind the last answer"
    await reply.body(timeout)
    return False
