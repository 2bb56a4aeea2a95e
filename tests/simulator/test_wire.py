"""Every model's behaviour as a client sees it on a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.simulator.prices import price_of
from app.simulator.registry import REGISTRY
from app.simulator.request import SIMULATE_HEADER
from tests.simulated_upstream import RESPONSES, SimulatorUnderTest

ERRORS = {
    "sim/400": (400, "invalid_request_error"),
    "sim/401": (401, "unauthorized"),
    "sim/402": (402, "insufficient_credits"),
    "sim/403": (403, "access_denied"),
    "sim/429": (429, "rate_limit_error"),
    "sim/500": (500, "internal_error"),
    "sim/503": (503, "internal_error"),
    "sim/200-error": (200, "insufficient_credits"),
}

# The token of usage.cost and of cost, as they stand in the answer's bytes.
COSTS = {
    "sim/seed": ("0.0000123", "0.0001"),
    "sim/exact": ("0.0001", "0.0001"),
    "sim/just-over": ("0.00010001", "0.0002"),
    "sim/free": ("0", "0"),
    "sim/float-cost": ("0.0000123456789012345678", "0.0001"),
    "sim/exponent-cost": ("1.23e-05", "1e-04"),
    "sim/cost-null": ("null", "null"),
    "sim/cost-nan": ("NaN", "NaN"),
}


class Token(str):
    """A number as it stood in the text."""


def exact(content: bytes) -> Any:
    return json.loads(content, parse_float=Token, parse_int=Token, parse_constant=Token)


def as_token(value: object) -> str:
    return "null" if value is None else str(value)


@pytest.mark.parametrize(("model", "tokens"), COSTS.items())
async def test_costs_are_told_to_the_letter(simulator: SimulatorUnderTest, model: str, tokens: tuple[str, str]) -> None:
    """In a body both; in a stream the true one, and with the suffix both."""
    body = exact((await simulator.post(model)).content)
    assert (as_token(body["usage"]["cost"]), as_token(body["cost"])) == tokens
    for suffix, charged in (("", "absent"), (":both", tokens[1])):
        streamed = await simulator.stream(model + suffix)
        end = exact(streamed.frames[-1].split(b"data: ")[1])["response"]
        assert (as_token(end["usage"]["cost"]), as_token(end.get("cost", "absent"))) == (tokens[0], charged)


async def test_a_cost_can_be_kept_secret(simulator: SimulatorUnderTest) -> None:
    """`sim/no-cost`: neither field, anywhere."""
    assert b'"cost"' not in (await simulator.post("sim/no-cost")).content
    assert b'"cost"' not in (await simulator.stream("sim/no-cost:both")).content


async def test_a_stream_can_tell_the_charge_by_name(simulator: SimulatorUnderTest) -> None:
    """`sim/charged-in-stream`, and any model with the suffix."""
    for model in ("sim/charged-in-stream", "openai/gpt-4o-mini:both"):
        assert "cost" in (await simulator.stream(model)).events[-1]["response"]
    assert "cost" not in (await simulator.stream("openai/gpt-4o-mini")).events[-1]["response"]


async def test_the_seeds_usage_is_the_documented_one(simulator: SimulatorUnderTest) -> None:
    """12 + 24 = 36 tokens."""
    usage = (await simulator.post("sim/seed")).json()["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (12, 24, 36)


async def test_unknown_fields_stand_in_usage(simulator: SimulatorUnderTest) -> None:
    """A decoy cost among them."""
    usage = (await simulator.post("sim/extra-usage")).json()["usage"]
    assert usage["cost_details"]["cost"] == 9.99
    assert usage["cost"] < 1


@pytest.mark.parametrize(("model", "expected"), ERRORS.items())
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_has_the_upstreams_shape(
    simulator: SimulatorUnderTest, model: str, expected: tuple[int, str], stream: bool
) -> None:
    """Message and type, no code; the same whether a stream was asked for."""
    answer = await simulator.post(model, stream=stream)
    error = json.loads(answer.content)["error"]
    assert (answer.status_code, error["type"]) == expected
    assert error.keys() == {"message", "type"}


async def test_errors_tell_when_to_try_again(simulator: SimulatorUnderTest) -> None:
    """429 with its RateLimit-* headers, 503."""
    limited, full = await simulator.post("sim/429"), await simulator.post("sim/503")
    assert (limited.headers["retry-after"], full.headers["retry-after"]) == ("1", "1")
    assert limited.headers["ratelimit-remaining"] == "0"


async def test_an_error_under_200_comes_after_white_space_and_without_a_type(simulator: SimulatorUnderTest) -> None:
    """As the long-running routes do."""
    answer = await simulator.post("sim/200-error")
    assert answer.content[:3] == b"  \n"
    assert "content-type" not in answer.headers


async def test_an_error_page_is_html(simulator: SimulatorUnderTest) -> None:
    """`sim/html-error`."""
    answer = await simulator.post("sim/html-error")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert answer.content.startswith(b"<html>")


async def test_frames_are_named_unless_asked_otherwise(simulator: SimulatorUnderTest) -> None:
    """`event:` and `data:`, or `data:` alone."""
    named, bare = await simulator.stream("sim/fast"), await simulator.stream("sim/data-only")
    for frame, event in zip(named.frames, named.events, strict=True):
        assert frame.startswith(f"event: {event['type']}\ndata: ".encode())
    assert all(frame.startswith(b"data: ") for frame in bare.frames)
    assert bare.types[-1] == "response.completed"


async def test_comments_stand_between_events(simulator: SimulatorUnderTest) -> None:
    """And inside them, and leave the events whole."""
    streamed = await simulator.stream("sim/comments")
    assert streamed.frames.count(b": PROCESSING") > 3
    assert streamed.content.count(b": inside an event\n") == len(streamed.events)
    assert streamed.types[-1] == "response.completed"


async def test_done_follows_the_terminal_event(simulator: SimulatorUnderTest) -> None:
    """`data: [DONE]`, only by name."""
    streamed = await simulator.stream("sim/done")
    assert (streamed.frames[-1], streamed.types[-1]) == (b"data: [DONE]", "response.completed")
    assert b"[DONE]" not in (await simulator.stream("sim/fast")).content


async def test_a_stream_can_end_cleanly_without_its_terminal_event(simulator: SimulatorUnderTest) -> None:
    """A body has no such event and is whole."""
    streamed = await simulator.stream("sim/no-terminal")
    assert (streamed.cut, streamed.types[-1]) == (False, "response.output_item.done")
    assert (await simulator.post("sim/no-terminal")).json()["status"] == "completed"


async def test_a_stream_can_be_cut_inside_the_framing(simulator: SimulatorUnderTest) -> None:
    """At an event boundary, without a terminal event."""
    streamed = await simulator.stream("sim/cut-midstream")
    assert streamed.cut
    assert streamed.content.endswith(b"\n\n")
    assert streamed.types[0] == "response.created"
    assert "response.completed" not in streamed.types


async def test_a_body_can_be_cut_inside_the_framing(simulator: SimulatorUnderTest) -> None:
    """Fewer bytes than its length said."""
    with pytest.raises(httpx.RemoteProtocolError):
        await simulator.post("sim/cut-midstream")


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_can_fall_silent(simulator: SimulatorUnderTest, stream: bool) -> None:
    """Something came, then nothing; the connection stays until the client goes."""
    body = {"model": "sim/stall", "input": "?", "stream": stream}
    async with simulator.client.stream("POST", RESPONSES, json=body) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_to_the_end(pieces), 0.4)


async def _to_the_end(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def test_a_slow_model_takes_its_time_before_the_first_byte(simulator: SimulatorUnderTest) -> None:
    """`sim/slow:MS`; the default is more."""
    began = time.monotonic()
    await simulator.post("sim/slow:300")
    assert time.monotonic() - began >= 0.3
    assert REGISTRY["sim/slow"].first_seconds > 0.3


async def test_events_come_one_by_one(simulator: SimulatorUnderTest) -> None:
    """With a pause between two, each arrives alone."""
    body = {"model": "sim/stream-pause:20", "input": "?", "stream": True, "max_output_tokens": 4}
    arrived: list[bytes] = []
    began = time.monotonic()
    async with simulator.client.stream("POST", RESPONSES, json=body) as answer:
        async for piece in answer.aiter_raw():
            arrived.append(piece)
    assert time.monotonic() - began >= 0.02 * (len(arrived) - 1)
    assert [piece.count(b"data: ") for piece in arrived] == [1] * len(arrived)


async def test_a_long_answer_is_as_long_as_asked(simulator: SimulatorUnderTest) -> None:
    """`sim/words:N`."""
    streamed = await simulator.stream("sim/words:2000")
    assert streamed.types.count("response.output_text.delta") > 2000


async def test_a_model_that_is_not_listed_is_refused(simulator: SimulatorUnderTest) -> None:
    """With a sentence that names the nearest and says where the list is."""
    answer = await simulator.post("sim/cut-midsteam")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "model_not_found")
    assert "the nearest is sim/cut-midstream" in error["message"]
    assert "irg simulate --list" in error["message"]


async def test_a_header_names_the_behaviour_of_any_model(simulator: SimulatorUnderTest) -> None:
    """With or without its prefix, with its suffixes; the model's price stays."""
    for value in ("stream-pause:1:both", "sim/stream-pause:1:both"):
        answer = await simulator.post("openai/gpt-5", headers={SIMULATE_HEADER: value}, stream=True)
        end = json.loads(answer.text.split("data: ")[-1])["response"]
        assert (end["model"], "cost" in end) == ("openai/gpt-5", True)
        assert end["output"][0]["type"] == "message"  # not the reasoning of an ordinary gpt-5
        assert simulator.bill().line(end["id"]).true_cost == price_of("openai/gpt-5").cost(
            input_tokens=end["usage"]["input_tokens"], cached_tokens=0, output_tokens=end["usage"]["output_tokens"]
        )
    refused = (await simulator.post("sim/fast", headers={SIMULATE_HEADER: "stal"})).json()["error"]
    assert (refused["param"], refused["code"]) == (SIMULATE_HEADER, "model_not_found")
    assert "sim/stall" in refused["message"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic abc", "any-key"])
async def test_no_key_is_refused(simulator: SimulatorUnderTest, authorization: str | None) -> None:
    """In the upstream's own shape."""
    headers = {"authorization": authorization} if authorization is not None else {}
    async with httpx.AsyncClient(base_url=simulator.url, headers=headers, trust_env=False) as client:
        answer = await client.post(RESPONSES, json={"model": "sim/fast", "input": "?"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "unauthorized")


async def test_what_is_not_json_is_refused(simulator: SimulatorUnderTest) -> None:
    """With 400."""
    answer = await simulator.client.post(RESPONSES, content=b"{")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", RESPONSES, 405),
        ("POST", "/v3/models", 405),
        ("GET", "/v1/openai/models", 404),
        ("POST", f"{RESPONSES}/resp_1/cancel", 404),
        ("GET", "/", 404),
    ],
)
async def test_other_paths_and_methods(simulator: SimulatorUnderTest, method: str, path: str, status: int) -> None:
    """An error in the upstream's shape."""
    answer = await simulator.client.request(method, path)
    assert (answer.status_code, answer.json()["error"].keys()) == (status, {"message", "type"})


async def test_the_credits_are_what_the_bill_leaves(simulator: SimulatorUnderTest) -> None:
    """Strings of four decimals; by key only when asked."""
    await simulator.post("sim/seed")
    charged = simulator.bill().charged
    credit = (await simulator.client.get("/v1/credits")).json()
    assert credit.keys() == {"remaining_credits", "credit_usage", "total_deposits"}
    assert credit["credit_usage"] == f"{charged:.4f}"
    assert credit["remaining_credits"] == f"{1000 - charged:.4f}"
    by_key = (await simulator.client.get("/v1/credits?by_api_key=true")).json()["usage_by_api_key"]
    assert by_key[0]["total_requests"] == len(simulator.bill().lines)


async def test_every_answer_has_a_request_id(simulator: SimulatorUnderTest) -> None:
    """Errors too, and never the same."""
    answers = [await simulator.post("sim/fast"), await simulator.post("sim/500"), await simulator.post("sim/fast")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
