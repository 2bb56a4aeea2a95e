"""The whole life of a gateway as a process, and then a search for every secret and prompt in all that came of it.

Answered, refused, failed, abandoned, killed, restarted; managed, exported, alerted, asked wrongly; and the upstream
reflects its key wherever it can. A client sees its own words and nobody's secrets, everything else sees neither.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pyarrow import parquet

from app.simulator.child import SimulatorChild
from tests.canaries import found_in, found_in_files
from tests.cli.irg import irg_process
from tests.fuzz.raw_requests import malformed
from tests.scripted_upstream import ScriptedUpstream, head

pytestmark = pytest.mark.scenario

ROOT = Path(__file__).parents[2]
UPSTREAM_KEY = "upstream/CANARY+5f1c=2d3e4b6a7980"
ADMIN_TOKEN = "admin-CANARY-3c9e1f7a2b4d6e8f0a1c3e5b7d9f"
PROMPT = "prompt CANARY/9d8e+7f6a 5b4c"

# Where answers differ most: whole and broken, with the key in them, with errors that quote what they were asked.
MODELS = (
    "sim/seed", "sim/words", "sim/key-in-body", "sim/key-in-header", "sim/key-in-pieces", "sim/400", "sim/401",
    "sim/402", "sim/403", "sim/404", "sim/408", "sim/429", "sim/500", "sim/503", "sim/html-error", "sim/html-404",
    "sim/text-500", "sim/redirect", "sim/200-error", "sim/200-html", "sim/200-half-json", "sim/cookies",
    "sim/origin-headers", "sim/hop-by-hop", "sim/ids", "sim/gzip", "sim/cost-string", "sim/cost-nan",
    "sim/cost-list", "sim/no-terminal", "sim/failed", "sim/error-event", "sim/cut-midstream",
    "sim/reset-before-headers",
    "sim/garbage", "sim/bad-header", "sim/half-json", "sim/decoy-text", "sim/unknown-events", "sim/no-cost",
)  # fmt: skip


@dataclass
class Life:
    """One gateway's directory, where it listens now, and everything it has said to anybody."""

    directory: Path
    upstream_url: str
    url: str = ""
    process: asyncio.subprocess.Process | None = None
    to_clients: list[bytes] = field(default_factory=list)
    to_admins: list[bytes] = field(default_factory=list)
    to_shells: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    starts: int = 0

    @property
    def environment(self) -> dict[str, str]:
        return {
            "IRG_UPSTREAM_URL": self.upstream_url,
            "IMAGEROUTER_API_KEY_FILE": str(self.directory / "key"),
            "IRG_ADMIN_TOKEN_FILE": str(self.directory / "token"),
            "IRG_LOG_LEVEL": "debug",
            "IRG_CREDITS_LOW_USD": "1000",
            "IRG_UPSTREAM_TIMEOUT_SECONDS": "5",
            "IRG_UPSTREAM_IDLE_SECONDS": "5",
        }

    @asynccontextmanager
    async def running(self, *, end: signal.Signals = signal.SIGTERM) -> AsyncIterator[None]:
        """A process of it; everything that it prints goes to a file."""
        self.starts += 1
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"PYTHONPATH": str(ROOT)}
        out = (self.directory / f"out-{self.starts}").open("wb")
        with out, (self.directory / f"err-{self.starts}").open("wb") as err:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app", "serve", "--port", "0"),
                cwd=self.directory,
                env=kept | self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            self.url = await self._ready()
            yield
        finally:
            if self.process.returncode is None:
                self.process.send_signal(end)
            await asyncio.wait_for(self.process.wait(), 60)

    async def _ready(self) -> str:
        async with asyncio.timeout(60):
            while True:
                for line in self.log(self.starts):
                    if line["event"] == "ready":
                        return str(line["url"])
                assert self.process is not None
                assert self.process.returncode is None, (self.directory / f"err-{self.starts}").read_text()
                await asyncio.sleep(0.05)

    def log(self, start: int) -> list[dict[str, Any]]:
        """Every line of what it printed; each is one JSON object without a control character in it."""
        lines = (self.directory / f"out-{start}").read_bytes().split(b"\n")
        assert not [line for line in lines if any(byte < 0x20 or byte == 0x7F for byte in line)]
        return [json.loads(line) for line in lines[:-1]]

    # --- what people do --------------------------------------------------------------------------

    async def admin(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """As the admin; the answer to a new secret is the one place where it may stand, and is not kept."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {ADMIN_TOKEN}"} | sent.pop("headers", {})
            answer = await client.request(method, path, headers=headers, **sent)
        shown = answer.json().get("secret") if answer.headers["content-type"] == "application/json" else None
        content = answer.content.replace(shown.encode(), b"") if shown else answer.content
        self.to_admins += [content, repr(answer.headers).encode()]
        return answer

    async def everything_that_is_shown(self) -> None:
        """Every page that there is or may be one day, the metrics, and the live feed from its beginning."""
        described = (await self.admin("GET", "/openapi.json")).json()["paths"]
        shown = [path for path, methods in described.items() if "get" in methods and not path.endswith("/events")]
        assert len(shown) > 15
        for path in [*shown, "/", "/me", "/docs", "/metrics"]:
            await self.admin("GET", re.sub(r"\{[^}]*\}", "alice", path))
        async with (
            httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30) as client,
            client.stream(
                "GET", "/admin/v1/events?after=0", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
            ) as feed,
        ):
            lines = feed.aiter_lines()
            self.to_admins += [(await anext(lines)).encode() for _ in range(400)]

    async def ask(self, secret: str, body: Any, *, headers: dict[str, str] | None = None, path: str = "") -> None:
        """As a key's holder, to whatever end it has."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30) as client:
            try:
                answer = await client.post(
                    path or "/v1/responses",
                    content=body if isinstance(body, bytes) else json.dumps(body),
                    headers={"authorization": f"Bearer {secret}"} | (headers or {}),
                )
                self.to_clients += [answer.content, repr(answer.headers).encode()]
            except httpx.HTTPError as error:
                self.to_clients.append(repr(error).encode())

    async def raw(self, sent: bytes) -> None:
        host, _, port = self.url.rpartition("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(sent)
            self.to_clients.append(await asyncio.wait_for(reader.read(2**20), 0.2))
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


async def managed(life: Life, webhook: str) -> None:
    """Keys, a team, an alert's destination, changes, mistakes: with every secret where it does not belong."""
    await life.admin("POST", "/admin/v1/teams", json={"name": "blue"})
    for name in ("alice", "bob", "poor"):
        answer = await life.admin("POST", "/admin/v1/keys", json={"name": name, "team": "blue", "tags": ["prod"]})
        life.secrets[name] = answer.json()["secret"]
    await life.admin("PATCH", "/admin/v1/keys/poor", json={"budgets": ["0.000001/day"]})
    rotated = await life.admin("POST", "/admin/v1/keys/alice/rotate", json={"grace": "1h"})
    life.secrets["alice before"], life.secrets["alice"] = life.secrets["alice"], rotated.json()["secret"]
    added = await life.admin("POST", "/admin/v1/alerts", json={"name": "hook", "address": webhook})
    life.secrets["webhook"] = added.json()["secret"]
    await life.admin("POST", "/admin/v1/alerts/hook/test")
    for word in (life.secrets["alice"], UPSTREAM_KEY, ADMIN_TOKEN):
        await life.ask(word, {"model": "m"})  # a wrong place for two of them
        await life.ask("x", {"model": "m"}, headers={"x-request-id": word, "user-agent": word, "cookie": word})
    await life.admin("POST", "/admin/v1/keys", json={"name": life.secrets["alice"]})
    await life.admin("POST", "/admin/v1/nothing", json={"name": "x"}, headers={"x-irg-actor": life.secrets["bob"]})


async def asked(life: Life, who: str) -> None:
    """Every kind of answer, and every kind of refusal; each body says the prompt."""
    alice, poor = life.secrets[who], life.secrets["poor"]
    places = asyncio.Semaphore(8)

    async def one(body: Any, secret: str = alice, **more: Any) -> None:
        async with places:
            await life.ask(secret, body, **more)

    said = {"input": PROMPT, "instructions": PROMPT, "metadata": {"x": PROMPT}, "user": PROMPT}
    told = [{"model": model, "stream": stream, **said} for model in MODELS for stream in (False, True)]
    await asyncio.gather(*map(one, told))
    text = json.dumps(PROMPT).encode()
    refused = [
        b'{"model":"m","input":' + text,
        b'{"model":"m","model":"m","input":' + text + b"}",
        b'{"input":' + text + b"}",
        b'{"model":"m","background":true,"input":' + text + b"}",
        b'{"model":"m","conversation":' + text + b"}",
        b'{"model":"m","stream":' + text + b"}",
        b'{"model":"m","input":"\xff' + text[1:] + b"}",
        text * 100,
    ]
    await asyncio.gather(*(one(body) for body in refused))
    await one({"model": "sim/seed", **said}, poor)
    await one({"model": "sim/seed", **said}, headers={"content-encoding": "gzip", "x-stainless-lang": PROMPT})
    await one({"model": "sim/seed", **said}, headers={"openai-organization": PROMPT, "x-forwarded-for": alice})
    await one({"model": "sim/seed", **said}, path=f"/v1/{quote(PROMPT)}/{alice}")
    await one({"model": "sim/seed", **said}, path=f"/v1/responses?prompt={quote(PROMPT)}&key={alice}")
    await asyncio.gather(*(life.raw(malformed(seed, alice).replace(b"marker", text)) for seed in range(50_000, 50_100)))
    async with httpx.AsyncClient(base_url=life.url, trust_env=False, timeout=30) as client:
        client.headers["authorization"] = f"Bearer {alice}"
        for path in ("/v1/me", "/v1/me/usage", "/v1/me/requests", "/v1/models", "/openapi.json", "/healthz", "/readyz"):
            life.to_clients.append(
                (await client.get(path, params={"secret": alice} if path == "/v1/me" else {})).content
            )


async def left(life: Life) -> None:
    """Clients that leave in the middle."""
    body = json.dumps({"model": "sim/slow", "stream": True, "input": PROMPT}).encode()
    start = f"POST /v1/responses HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {life.secrets['alice']}\r\n"
    for cut in (None, 10, 60):
        await life.raw(f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body[:cut])


async def told(life: Life) -> None:
    """Everything that the control plane and the command line tell of it."""
    for path in (
        "keys",
        "teams",
        "requests?limit=1000",
        "refusals?limit=1000",
        "usage",
        "usage?by=model",
        "audit?limit=1000",
    ):
        assert (await life.admin("GET", f"/admin/v1/{path}")).status_code == 200
    await life.everything_that_is_shown()
    await life.admin("GET", f"/admin/v1/requests?id={quote(life.secrets['alice'])}")
    await life.admin("GET", "/admin/v1/alerts?limit=1000")
    for kind in ("csv", "jsonl", "parquet"):
        answer = await life.admin("GET", f"/admin/v1/export?format={kind}")
        (life.directory / f"export.{kind}").write_bytes(answer.content)
    rows = parquet.read_table(life.directory / "export.parquet").to_pylist()  # pages in it are compressed
    life.to_admins.append(repr(rows).encode())
    for command in (
        ["config", "show", "--json"],
        ["keys", "list", "--json"],
        ["requests", "list", "--json", "--limit", "1000"],
        ["audit", "--json"],
        ["alerts", "list", "--json"],
        ["verify", "--json"],
        ["requests", "show", life.secrets["alice"]],
        ["me", "--url", life.url, "--key", life.secrets["alice"]],
        ["keys", "show", life.secrets["alice"]],
    ):
        ran = await irg_process(life.directory, *command, **life.environment)
        life.to_shells += [ran.out, ran.err]


async def test_nothing_that_is_secret_is_found_anywhere(tmp_path: Path) -> None:
    """Logs, tables, WAL, spool, exports, audit, alerts, pages, answers, command line: searched plain and encoded."""
    (tmp_path / "key").write_text(UPSTREAM_KEY)
    (tmp_path / "token").write_text(ADMIN_TOKEN)
    bill = tmp_path / "upstream" / "bill.jsonl"
    bill.parent.mkdir()
    async with ScriptedUpstream() as hook:
        hook.otherwise = lambda seen: [head(200, [("Content-Length", "0")])]
        with SimulatorChild(bill, expected_key=UPSTREAM_KEY) as simulator:
            life = Life(tmp_path, simulator.url)
            async with life.running(end=signal.SIGKILL):
                await managed(life, hook.url + "/hook")
                await asked(life, "alice")
                await left(life)
                assert life.process is not None
                life.process.send_signal(signal.SIGHUP)
                crashed = [asyncio.create_task(left(life)) for _ in range(3)]
                await asyncio.sleep(random.Random(5).random() / 10)
            await asyncio.gather(*crashed, return_exceptions=True)
            async with life.running():
                await asked(life, "alice before")
                await told(life)
    check(life, [seen.raw for seen in hook.requests])


def check(life: Life, webhooks: list[bytes]) -> None:
    team = [secret for name, secret in life.secrets.items() if name != "webhook"]
    inner = [secret[20:50] for secret in team]  # a piece of a secret is as telling
    ours = [UPSTREAM_KEY, ADMIN_TOKEN]
    everything = [*ours, *life.secrets.values(), *inner, PROMPT]
    assert len(life.to_clients) > 200
    assert webhooks
    logs = [tmp for tmp in life.directory.iterdir() if tmp.name.startswith(("out-", "err-"))]
    assert found_in_files(logs, everything) == []
    kept = [path for path in (life.directory / "data").rglob("*") if path.is_file()]
    assert {"gateway.db"} <= {path.name for path in kept}
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}  # for their owner alone
    assert found_in_files(kept, everything) == []
    assert found_in_files(life.directory.glob("export.*"), everything) == []
    for place, texts, secrets in (
        ("clients", life.to_clients, [*ours, life.secrets["bob"], life.secrets["poor"], life.secrets["webhook"]]),
        ("admins", life.to_admins, everything),
        ("shells", [text.encode() for text in life.to_shells], everything),
        ("webhooks", webhooks, everything),
    ):
        found = {what for text in texts for what in found_in(text, secrets)}
        assert found == set(), place
    lines = [line for start in range(1, life.starts + 1) for line in life.log(start)]
    assert sum(line["event"] == "request" for line in lines) > 100
    assert not [line for line in lines if "exception" in line]
