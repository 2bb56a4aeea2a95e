"""TLS and proxies: whom a transport trusts, and which way it goes."""

from __future__ import annotations

import asyncio
import base64
import random

import pytest

from app.proxy.upstream import make_upstream
from app.proxy.upstream.connecting import Connecting
from app.proxy.upstream.port import Fault, UpstreamError, UpstreamTimeout
from app.settings import Settings
from tests.proxy.upstream.conftest import Connect, ask, asking, whole
from tests.proxy.upstream.middle import Middle
from tests.scripted_upstream import CA_FILE, CLOSE, END, ScriptedUpstream, chunk, head, json_answer, sse_head

OWN_CA = {"ca_file": str(CA_FILE)}

GRANTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def test_the_given_authority_is_trusted(connect: Connect) -> None:
    """With its file, requests pass, and the connection is used again."""
    async with ScriptedUpstream(tls=True) as scripted:
        upstream = connect(scripted.url, **OWN_CA)
        for _ in range(3):
            await ask(upstream)
        assert (scripted.connections, len(scripted.requests)) == (1, 3)


async def test_an_unknown_authority_is_not(connect: Connect) -> None:
    """CERTIFICATE, nothing sent, and no second knock: it would not help."""
    async with ScriptedUpstream(tls=True) as scripted, Middle(scripted.port) as middle:
        with pytest.raises(UpstreamError) as failure:
            await connect(f"https://127.0.0.1:{middle.port}").open(asking())
        assert (failure.value.fault, failure.value.sent) == (Fault.CERTIFICATE, False)
        assert middle.connections == 1
        assert scripted.requests == []


async def test_a_certificate_for_another_host_is_not(connect: Connect) -> None:
    """A trusted authority is not enough: the name must be ours."""
    async with ScriptedUpstream(tls=True, certificate="elsewhere.pem") as scripted:
        with pytest.raises(UpstreamError) as failure:
            await connect(scripted.url, **OWN_CA).open(asking())
        assert (failure.value.fault, failure.value.sent) == (Fault.CERTIFICATE, False)
        assert scripted.requests == []


async def test_megabytes_over_tls(connect: Connect) -> None:
    """Large bodies both ways, the answer until close, read slowly at first: nothing is lost at the end."""
    up, down = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(3_000_000)
    async with ScriptedUpstream(tls=True) as scripted:
        scripted.answer(head(200), down, CLOSE)
        answer = await connect(scripted.url, **OWN_CA).open(asking(up))
        first = await answer.read()
        await asyncio.sleep(0.1)
        assert first is not None
        assert first + await whole(answer) == down
        assert scripted.requests[0].body == up


async def test_chunks_and_aborts_over_tls(connect: Connect) -> None:
    """Chunks come alone and at once; a cut is seen by the peer."""
    async with ScriptedUpstream(tls=True) as scripted:
        go = asyncio.Event()
        scripted.answer(sse_head(), chunk(b"1"), go, chunk(b"2"), asyncio.Event())
        answer = await connect(scripted.url, **OWN_CA).open(asking())
        assert await answer.read() == b"1"
        go.set()
        assert await answer.read() == b"2"
        reading = asyncio.ensure_future(answer.read())
        await asyncio.sleep(0)
        answer.abort()
        with pytest.raises(UpstreamError) as failure:
            await reading
        assert failure.value.fault is Fault.ABORTED
        await answer.aclose()
        async with asyncio.timeout(2):
            await scripted.requests[0].gone.wait()


async def test_a_plain_origin_through_a_proxy(scripted: ScriptedUpstream, connect: Connect) -> None:
    """The proxy is asked for the absolute URL, with its own credentials."""
    upstream = connect("http://upstream.test:8080", proxy=scripted.url.replace("//", "//some%40one:p%3Aw@"))
    await ask(upstream)
    seen = scripted.requests[0]
    assert seen.target == b"http://upstream.test:8080/v1/openai/responses"
    assert seen.header(b"proxy-authorization") == b"Basic " + base64.b64encode(b"some@one:p:w")
    assert seen.header(b"authorization") == b"Bearer upstream-key"


async def test_a_path_in_front_of_the_api(scripted: ScriptedUpstream, connect: Connect) -> None:
    """An upstream that lives under a path is asked there: another path of that host may be another service."""
    await ask(connect(f"{scripted.url}/imagerouter"))
    assert scripted.requests[0].target == b"/imagerouter/v1/openai/responses"
    await ask(connect("http://upstream.test/imagerouter", proxy=scripted.url))
    assert scripted.requests[1].target == b"http://upstream.test/imagerouter/v1/openai/responses"


@pytest.mark.parametrize("proxy_tls", [False, True], ids=["http proxy", "https proxy"])
async def test_a_tls_origin_through_a_proxy(connect: Connect, proxy_tls: bool) -> None:
    """A tunnel: the proxy learns host and port and its own credentials, the origin nothing of the proxy."""
    async with (
        ScriptedUpstream(tls=True) as scripted,
        Middle(scripted.port, connect_answer=GRANTED, tls=proxy_tls) as middle,
    ):
        scheme = "https" if proxy_tls else "http"
        upstream = connect(scripted.url, proxy=f"{scheme}://me:pw@127.0.0.1:{middle.port}", **OWN_CA)
        scripted.answer(sse_head(), chunk(b"data: 1\n\n"), END)
        assert await ask(upstream, bytes(1_000_000)) == b"data: 1\n\n"
        await ask(upstream)
        assert middle.connections == 1
        assert middle.heads[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % scripted.port)
        assert base64.b64encode(b"me:pw") in middle.heads[0]
        assert b"upstream-key" not in middle.heads[0]
        assert scripted.requests[0].header(b"proxy-authorization") is None


@pytest.mark.parametrize("refusal", [head(407, [("Content-Length", "0")]), head(502), b"no HTTP\r\n\r\n"])
async def test_a_proxy_that_refuses(connect: Connect, refusal: bytes) -> None:
    """Nothing of the request was sent; the fault does not quote the proxy."""
    async with Middle(9, connect_answer=refusal) as middle:
        upstream = connect("https://upstream.test", proxy=f"http://me:pw@127.0.0.1:{middle.port}")
        with pytest.raises(UpstreamError) as failure:
            await upstream.open(asking())
        assert (failure.value.fault, failure.value.sent) == (Fault.CONNECT, False)


async def test_a_silent_proxy(connect: Connect) -> None:
    """The tunnel belongs to connecting: its deadline counts, and nothing was sent."""
    async with Middle(9, connect_answer=b"") as middle:
        upstream = connect("https://upstream.test", proxy=f"http://127.0.0.1:{middle.port}", connect_seconds=0.2)
        with pytest.raises(UpstreamTimeout) as failure:
            await upstream.open(asking())
        assert (failure.value.fault, failure.value.sent) == (Fault.CONNECT_TIMEOUT, False)


async def test_settings_choose_and_configure(scripted: ScriptedUpstream) -> None:
    """`make_upstream` gives the transport that is set, with the origin, deadlines and keep-alive that are set."""
    settings = Settings(upstream_url=scripted.url, upstream_timeout_seconds=0.2, upstream_keepalive_seconds=0)
    upstream = make_upstream(settings)
    try:
        await ask(upstream)
        await scripted.quiet()
        scripted.answer(asyncio.Event())
        with pytest.raises(UpstreamTimeout):
            await upstream.open(asking())
        scripted.answer(json_answer(b"{}"))
        await ask(upstream)
    finally:
        await upstream.aclose()


def test_proxy_credentials_are_not_shown() -> None:
    """What prints a transport's configuration prints no password."""
    connecting = Connecting(
        origin="https://a",
        connect_seconds=1,
        head_seconds=1,
        idle_seconds=1,
        keepalive_seconds=1,
        proxy="http://u:pw@p",
    )
    assert "pw" not in repr(connecting)
