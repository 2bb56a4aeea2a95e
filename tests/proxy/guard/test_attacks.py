"""Attacks over the wire that are more than odd bytes: bombs, guesses, destinations, floods in the body."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from pathlib import Path

import pytest

from tests.harness import ADMIN_TOKEN, RESPONSES, UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.scripted_upstream import ScriptedUpstream, head, json_answer


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "GZIP", "x-gzip"])
async def test_a_bomb_is_not_unpacked(gateway: GatewayUnderTest, upstream: ScriptedUpstream, coding: str) -> None:
    """Encoded bodies are refused before anything is read of them."""
    secret = await gateway.create_key()
    bomb = gzip.compress(b'{"model":"m","input":"' + b"x" * (16 << 20) + b'"}')
    async with gateway.post(bomb, secret, headers={"Content-Encoding": coding}) as reply:
        assert reply.status == 415
        assert (await reply.json())["error"]["code"] == "unsupported_content_encoding"
    assert upstream.requests == []


async def test_an_upstreams_bomb_is_passed_on_and_not_unpacked_without_end(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Its bytes are the client's; of what it unpacks to, only so much is looked at, and its cost is unknown."""
    secret = await gateway.create_key()
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(b'{"id":"resp_1","usage":{"cost":0.5},"x":"')
    bomb += b"".join(packer.compress(b"0" * (1 << 20)) for _ in range(256)) + packer.compress(b'"}') + packer.flush()
    named = [("Content-Type", "application/json"), ("Content-Encoding", "gzip"), ("Content-Length", str(len(bomb)))]
    upstream.answer(head(200, named) + bomb)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.header("content-encoding") == "gzip"
        assert await reply.body() == bomb
    (row,) = await gateway.settled(1)
    assert row.state == "unknown"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","input":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 1_000_000,
        b'{"model":"m",' + b'"stream":true,' * 2 + b'"input":"x"}',
        b'{"model":"m","mod\\u0065l":"other","input":"x"}',
        b'{"model":"m","input":"\xff"}',
        b'{"model":"m","input":"x"}{"model":"other"}',
        b'\xef\xbb\xbf{"model":"m"}',
        b'{"model":["m"]}',
        b'{"model":"m","max_output_tokens":' + b"9" * 100_000 + b"}",
    ],
    ids=["arrays", "objects", "no end", "twice", "twice, escaped", "no UTF-8", "two", "BOM", "no string", "a number"],
)
async def test_a_body_that_is_an_attack_is_refused_or_passed_whole(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, body: bytes
) -> None:
    """Soon, with a sentence, and never half understood: what is forwarded are these bytes."""
    secret = await gateway.create_key()
    upstream.otherwise = lambda request: [json_answer({"usage": {"cost": 0.1}})]
    began = time.thread_time()
    async with gateway.post(body, secret) as reply:
        answer = await reply.json()
    assert time.thread_time() - began < 2
    if reply.status == 200:
        assert [request.body for request in upstream.requests] == [body]
    else:
        assert (reply.status, upstream.requests) == (400, [])
        assert answer["error"]["message"]


async def test_the_destination_is_never_the_clients(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """No field and no header names another upstream; its own server would see a connection."""
    secret = await gateway.create_key()
    async with ScriptedUpstream() as evil:
        elsewhere = evil.url.removeprefix("http://").encode()
        fields = ("api_base", "base_url", "api_key", "url", "host", "endpoint", "proxy")
        body = {"model": "m"} | {field: evil.url for field in fields} | {"metadata": {"api_base": evil.url}}
        named = ("X-Forwarded-Host", "X-Host", "X-Original-URL", "X-Rewrite-URL", "Forwarded", "X-Api-Base", "Referer")
        headers = {name: evil.url for name in named} | {"Proxy-Authorization": "Basic eDp5"}
        async with gateway.post(body, secret, path=f"{RESPONSES}?api_base={evil.url}", headers=headers) as reply:
            assert reply.status == 200
        assert evil.connections == 0
    (seen,) = upstream.requests
    assert (seen.target, seen.json()) == (b"/v1/openai/responses", body)
    assert seen.header(b"host") == upstream.url.removeprefix("http://").encode()
    assert elsewhere not in seen.raw_head


async def test_every_refused_key_is_answered_with_the_same_bytes(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Whether it was never made, was cut short, revoked, disabled or is another kind of secret: nobody learns which."""
    keyring = gateway.services.keyring
    secrets = {name: await gateway.create_key(name) for name in ("fine", "revoked", "disabled", "rotated")}
    await keyring.revoke("revoked")
    await keyring.disable("disabled")
    await keyring.rotate("rotated")
    fine = secrets["fine"]
    guesses = [
        f"Bearer {secrets['revoked']}",
        f"Bearer {secrets['disabled']}",
        f"Bearer {fine[:-1]}",
        f"Bearer {fine[:-1]}{'0' if fine[-1] != '0' else '1'}",
        f"Bearer {fine.upper()}",
        f"Bearer {fine} x",
        f"Basic {fine}",
        fine,
        "Bearer",
        "Bearer ",
        "",
        f"Bearer {ADMIN_TOKEN}",
        f"Bearer {UPSTREAM_KEY}",
        "Bearer irg_' OR 1=1 --",
        "Bearer irg_%",
        "Bearer \xff",
    ]
    answers = set()
    for headers in ({}, *({"Authorization": guess} for guess in guesses)):
        async with gateway.post({"model": "m"}, headers=headers) as reply:
            kept = [pair for pair in reply.headers if pair[0] not in ("x-request-id", "x-irg-request-id", "date")]
            answers.add((reply.status, json.dumps(kept), await reply.body()))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401
    assert upstream.requests == []


NOT_A_REQUEST = {
    "broken": b'{"model":"m"',
    "twice": b'{"model":"m","model":"n"}',
    "no model": b"{}",
    "background": b'{"model":"m","background":true}',
    "conversation": b'{"model":"m","conversation":"conv_1"}',
    "encoded": b"\x1f\x8b",
    "too large": b" " * 100_001,
}


@pytest.mark.parametrize("body", NOT_A_REQUEST.values(), ids=NOT_A_REQUEST.keys())
async def test_who_may_not_ask_is_told_nothing_of_the_body(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, body: bytes
) -> None:
    """A key that was revoked, disabled or rotated is refused as one that never was, whatever it sends."""
    async with gateway_before(upstream.url, tmp_path, front=front, request_bytes_max=100_000) as gateway:
        keyring = gateway.services.keyring
        secrets = {name: await gateway.create_key(name) for name in ("fine", "revoked", "disabled", "rotated")}
        headers = {"Content-Encoding": "gzip"} if body.startswith(b"\x1f") else {}

        async def told(secret: str) -> tuple[int, bytes]:
            async with gateway.post(body, secret, headers=headers) as reply:
                return reply.status, await reply.body()

        before = [(await told(secret))[0] for secret in secrets.values()]  # each is known from here on
        await keyring.revoke("revoked")
        await keyring.disable("disabled")
        await keyring.rotate("rotated")
        never = await told("irg_" + "0" * 69)
        assert {name for name, secret in secrets.items() if await told(secret) != never} == {"fine"}
        assert (await told(secrets["fine"]))[0] == before[0] != never[0] == 401
    assert upstream.requests == []
