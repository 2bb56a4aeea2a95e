"""Whatever heads and paths a client sends, over the wire: what reaches the upstream; and nothing of ours breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from app.proxy.endpoint import PATHS
from tests.core.header_lists import header_lists
from tests.harness import RESPONSES, UPSTREAM_KEY, GatewayUnderTest
from tests.scripted_upstream import ScriptedUpstream

BODY = b'{"model":"m"}'
WRITTEN_BY_US = {b"host", b"authorization", b"accept-encoding", b"content-length"}
LET_THROUGH = {b"content-type", b"accept", b"user-agent", b"openai-beta"}

EXAMPLES = settings(max_examples=150)

PARTS = st.one_of(
    st.sampled_from(["/", "//", "..", ".", "%2e", "%2f", "%00", "%0d%0a", "\\", ";", "?", "#", "@", ":", "*", "x"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=4),
)
TARGETS = st.one_of(
    st.builds(
        lambda path, at, part, cut: path[: at % (len(path) + 1)] + part + path[at % (len(path) + 1) + cut :],
        st.sampled_from(["/v1/openai/responses", "/v1/responses"]),
        st.integers(0, 30),
        PARTS,
        st.integers(0, 3),
    ),
    st.lists(PARTS, max_size=6).map(lambda parts: "/" + "".join(parts)),
)


async def status_of(gateway: GatewayUnderTest, sent: bytes) -> int:
    """The answer's status; the connection is closed behind it."""
    async with gateway.connect(sent) as reply:
        await reply.read_head()
        return reply.status


async def for_each_example(test: Callable[[Callable[[bytes], int]], None], gateway: GatewayUnderTest) -> None:
    """Runs a property in a thread; what it sends goes out from the gateway's own loop."""
    loop = asyncio.get_running_loop()

    def ask(sent: bytes) -> int:
        return asyncio.run_coroutine_threadsafe(status_of(gateway, sent), loop).result(30)

    await asyncio.to_thread(test, ask)


async def test_of_any_headers_only_the_listed_ones_reach_the_upstream(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Duplicates, odd names, control bytes, forged framings, keys in places where none belongs."""
    secret = await gateway.create_key()

    def prop(ask: Callable[[bytes], int]) -> None:
        @EXAMPLES
        @given(header_lists(secret.encode()))
        def each(headers: list[tuple[bytes, bytes]]) -> None:
            lines = [f"POST {RESPONSES} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {secret}".encode()]
            lines += [name + b": " + value for name, value in headers]
            before = len(upstream.requests)
            status = ask(b"\r\n".join([*lines, b"Content-Length: %d" % len(BODY), b"", BODY]))
            seen = upstream.requests[before:]
            assert status in (200, 400, 401, 415, 431)
            assert len(seen) == (status == 200)
            for request in seen:
                names = [name for name, _ in request.headers]
                stray = {name for name in names if not name.startswith(b"x-stainless-")}
                assert stray <= WRITTEN_BY_US | LET_THROUGH
                assert request.header(b"authorization") == f"Bearer {UPSTREAM_KEY}".encode()
                assert secret.encode() not in request.raw
                assert request.body == BODY

        each()

    await for_each_example(prop, gateway)
    assert upstream.requests


async def test_a_path_that_is_not_exactly_ours_is_not_forwarded(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Neither nearly so nor after decoding; and the upstream's path is always the same."""
    secret = await gateway.create_key()

    def prop(ask: Callable[[bytes], int]) -> None:
        @EXAMPLES
        @given(TARGETS)
        def each(target: str) -> None:
            before = len(upstream.requests)
            head = f"POST {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {secret}\r\nContent-Length: {len(BODY)}"
            status = ask(head.encode() + b"\r\n\r\n" + BODY)
            exact = target.partition("?")[0].encode() in PATHS and "#" not in target
            seen = upstream.requests[before:]
            assert [request.target for request in seen] == [b"/v1/openai/responses"] * exact
            assert status == 200 if exact else status in (400, 401, 403, 404, 405)

        each()

    await for_each_example(prop, gateway)
