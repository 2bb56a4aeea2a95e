"""What opens the data plane: one team key, whole, in one header, on one exact path; all else is refused alike."""

from __future__ import annotations

import pytest

from tests.harness import GatewayUnderTest
from tests.scripted_upstream import ScriptedUpstream

BODY = b'{"model":"m"}'


async def answer_to(gateway: GatewayUnderTest, authorization: list[str], path: str = "/v1/responses") -> list[bytes]:
    """Status line and body."""
    lines = [f"POST {path} HTTP/1.1", "Host: g", "Connection: close", f"Content-Length: {len(BODY)}"]
    lines += [f"Authorization: {value}" for value in authorization]
    async with gateway.connect("\r\n".join(lines).encode() + b"\r\n\r\n" + BODY) as reply:
        answer = await reply.reader.read()
    return [answer.split(b"\r\n", 1)[0], answer.split(b"\r\n\r\n", 1)[1]]


async def test_every_other_credential_gets_the_same_bytes(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Two headers are none, also where both are right; neither a beginning, a case, a scheme nor another's id helps."""
    secret, other = await gateway.create_key("alice"), await gateway.create_key("bob")
    right = f"Bearer {secret}"
    assert await answer_to(gateway, [right]) == await answer_to(gateway, [f"bearer  {secret} "])
    assert len(upstream.requests) == 2
    refused = [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        [right, right],
        [right, "Bearer x"],
        ["Bearer x", right],
        [right, f"Bearer {other}"],
        [f"{right},{right}"],
        [f"{right}, Bearer x"],
        [f"Basic {secret}"],
        [secret],
        [f"Bearer\t{secret}"],
        [right[:-1]],
        [right + "0"],
        [right.upper()],
        [f'Bearer "{secret}"'],
        [f"Bearer {secret[:14]}{other[14:]}"],
        [f"Bearer {other[:14]}{secret[14:]}"],
        [f"Bearer {secret[:-1]}\xb5"],
        ["Bearer irg_" + "0" * 69],
        ["Bearer " + "irg_" * 5000],
    ]
    answers = [await answer_to(gateway, values) for values in refused]
    assert {status for status, _ in answers} == {b"HTTP/1.1 401 Unauthorized"}
    assert len({body for _, body in answers}) == 1
    assert len(upstream.requests) == 2
    assert len(await gateway.rows()) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/",
        "/v1/responsesx",
        "/v1/responses/resp_1/cancel",
        "/v1/openai/responses/compact",
        "//v1/responses",
        "/v1//responses",
        "/v1/./responses",
        "/v1/x/../responses",
        "/v1/%2e%2e/v1/responses",
        "/v1%2fresponses",
        "/v1/respons%65s",
        "/v1/responses%00",
        "/v1/responses;x=1",
        "/v1\\responses",
        "/V1/responses",
    ],
)
async def test_no_other_path_is_forwarded(gateway: GatewayUnderTest, upstream: ScriptedUpstream, path: str) -> None:
    """The raw path decides; what is not exactly one of the two is 404 and costs nothing."""
    secret = await gateway.create_key()
    status, body = await answer_to(gateway, [f"Bearer {secret}"], path)
    assert status == b"HTTP/1.1 404 Not Found"
    assert b"There is nothing at" in body
    assert upstream.requests == []
