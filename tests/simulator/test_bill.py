"""The bill is the judge: complete, exact, and written before anyone can know of an answer's end."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.amounts import charge_for, picodollars
from app.simulator.bill import Bill, BillFile, BillLine, now
from app.simulator.prices import PRICES, price_of
from tests.simulated_upstream import RESPONSES, SimulatorUnderTest

UNBILLED = [
    "sim/400",
    "sim/401",
    "sim/402",
    "sim/403",
    "sim/429",
    "sim/500",
    "sim/503",
    "sim/html-error",
    "sim/200-error",
]


def line(number: int, true_cost: Decimal, charged: Decimal) -> BillLine:
    return BillLine(
        response_id=f"resp_{number}",
        request_id="sim-1",
        model="sim/fast",
        true_cost=true_cost,
        charged=charged,
        told=("true_cost",),
        stream=False,
        status="completed",
        input_tokens=1,
        cached_tokens=0,
        output_tokens=2,
        reasoning_tokens=0,
        marker=None,
        sdk_retry=0,
        at=now(),
    )


@given(st.lists(st.decimals(min_value=0, max_value=10_000, places=22), max_size=20))
def test_what_was_billed_is_read_back_in_every_digit(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[Decimal]
) -> None:
    """Lines and sums."""
    path = tmp_path_factory.mktemp("bill") / "bill.jsonl"
    file, lines = BillFile(path), [line(i, amount, charge_for(amount)) for i, amount in enumerate(amounts)]
    for billed in lines:
        file.append(billed)
    file.close()
    bill = Bill.read(path)
    assert list(bill.lines) == lines
    assert bill.true_cost == sum(amounts, Decimal(0)) or len(amounts) > 5  # the default context rounds at 28 digits
    assert bill.true_picodollars == sum(picodollars(amount) for amount in amounts)
    assert bill.charged_picodollars == sum(picodollars(charge_for(amount)) for amount in amounts)


def test_a_bill_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Append-only, whoever opens it again; a line half written is not read."""
    path = tmp_path / "bill.jsonl"
    for number in (1, 2):
        file = BillFile(path)
        file.append(line(number, Decimal("0.1"), Decimal("0.1")))
        file.close()
    with path.open("ab") as torn:
        torn.write(b'{"response_id": "resp_')
    assert [billed.response_id for billed in Bill.read(path).lines] == ["resp_1", "resp_2"]


def test_a_response_that_is_not_billed_once_is_a_fault(tmp_path: Path) -> None:
    """Twice or never."""
    twice = Bill((line(1, Decimal(1), Decimal(1)), line(1, Decimal(1), Decimal(1))))
    for response_id in ("resp_1", "resp_2"):
        with pytest.raises(LookupError):
            twice.line(response_id)


def test_costs_follow_prices_and_tokens() -> None:
    """Exactly; cached input has a price of its own."""
    cost = PRICES["openai/gpt-4o-mini"].cost(input_tokens=1000, cached_tokens=400, output_tokens=7)
    assert cost == Decimal("0.0001242")
    assert price_of("openai/gpt-4o-mini:both") == PRICES["openai/gpt-4o-mini"]
    assert price_of("anyone/anything") == price_of("sim/fast")


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "openai/gpt-5", "sim/seed", "sim/float-cost", "sim/exponent-cost:both"]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_told_is_what_is_billed(simulator: SimulatorUnderTest, model: str, stream: bool) -> None:
    """Costs, tokens, ids."""
    if stream:
        end = (await simulator.stream(model)).frames[-1].split(b"data: ")[1]
        told = json.loads(end, parse_float=Decimal)["response"]
    else:
        told = json.loads((await simulator.post(model)).content, parse_float=Decimal)
    billed = simulator.bill().line(told["id"])
    usage = told["usage"]
    assert (billed.true_cost, billed.model, billed.stream) == (usage["cost"], model, stream)
    assert billed.told == (("true_cost", "charged") if "cost" in told else ("true_cost",))
    assert told.get("cost", billed.charged) == billed.charged == charge_for(billed.true_cost)
    assert billed.total_tokens == usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert billed.reasoning_tokens == usage["output_tokens_details"]["reasoning_tokens"]


async def test_the_bill_is_written_before_the_end_is_seen(simulator: SimulatorUnderTest) -> None:
    """Whoever has read the terminal event finds the line."""
    body = {"model": "sim/fast", "input": "?", "stream": True}
    for _ in range(20):
        async with simulator.client.stream("POST", RESPONSES, json=body) as answer:
            async for text in answer.aiter_lines():
                if text.startswith("data: ") and '"response.completed"' in text:
                    response_id = json.loads(text.removeprefix("data: "))["response"]["id"]
                    assert simulator.bill().line(response_id)


@pytest.mark.parametrize("model", UNBILLED)
async def test_errors_cost_nothing(simulator: SimulatorUnderTest, model: str) -> None:
    """Their line says so, and whether they prove it."""
    await simulator.post(model, metadata={"marker": f"unbilled {model}"})
    bill = simulator.bill().where(lambda line: line.marker == f"unbilled {model}")
    (line,) = bill.answers
    assert (len(bill.lines), line.billed) == (0, False)
    assert line.true_cost == line.charged == bill.charged == Decimal(0)
    assert line.told == (() if model in {"sim/500", "sim/html-error"} else ("free",))


@pytest.mark.parametrize(
    ("model", "told", "told_streamed"),
    [
        ("sim/no-cost", (), ()),
        ("sim/cost-null", (), ()),
        ("sim/cost-nan:both", (), ()),
        ("sim/no-terminal", ("true_cost", "charged"), ()),
        ("sim/cut-midstream", (), ()),
        ("sim/failed", ("true_cost", "charged"), ("true_cost",)),
        ("sim/refusal", ("true_cost", "charged"), ("true_cost",)),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_nobody_was_told_is_billed_all_the_same(
    simulator: SimulatorUnderTest, model: str, told: tuple[str, ...], told_streamed: tuple[str, ...], stream: bool
) -> None:
    """And the bill says what an attentive reader can know."""
    marker = f"{model} {stream}"
    try:
        await simulator.post(model, stream=stream, metadata={"marker": marker})
    except httpx.RemoteProtocolError:
        assert model == "sim/cut-midstream"
    (billed,) = simulator.bill().where(lambda one: one.marker == marker).lines
    assert billed.told == (told_streamed if stream else told)
    assert billed.true_cost > 0


@pytest.mark.parametrize("stream", [True, False])
async def test_an_abandoned_answer_is_billed(simulator: SimulatorUnderTest, stream: bool) -> None:
    """The upstream goes on without its client."""
    marker = f"abandoned {stream}"
    body = {"model": "sim/stream-pause:5" if stream else "sim/slow:200", "input": "?", "stream": stream}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await simulator.client.post(RESPONSES, json=body, headers={"x-stainless-marker": marker})
    async with asyncio.timeout(10):
        while not simulator.bill().where(lambda billed: billed.marker == marker).lines:
            await asyncio.sleep(0.01)


async def test_a_silent_answer_is_billed(simulator: SimulatorUnderTest) -> None:
    """When it falls silent, not when somebody loses patience."""
    body = {"model": "sim/stall", "input": "?", "stream": True, "metadata": {"marker": "silent"}}
    async with simulator.client.stream("POST", RESPONSES, json=body), asyncio.timeout(10):
        while not simulator.bill().where(lambda billed: billed.marker == "silent").lines:
            await asyncio.sleep(0.01)


async def test_a_line_can_be_found_by_what_the_client_wrote(simulator: SimulatorUnderTest) -> None:
    """A header that crosses the gateway, or the body's metadata; the SDK's retry count beside it."""
    await simulator.post("sim/fast", headers={"x-request-marker": "m-1", "x-stainless-retry-count": "2"})
    (billed,) = simulator.bill().where(lambda one: one.marker == "m-1").lines
    assert billed.sdk_retry == 2


async def test_many_answers_at_once_are_each_billed_once(simulator: SimulatorUnderTest) -> None:
    """Bodies and streams mixed; the sum of what was told is the sum of the bill."""

    async def one(number: int) -> Decimal:
        model, text, mark = list(PRICES)[number % len(PRICES)], f"Question {number}", {"marker": "many"}
        if number % 2:
            content = (await simulator.post(model, input=text, metadata=mark)).content
            return Decimal(json.loads(content, parse_float=Decimal)["usage"]["cost"])
        frame = (await simulator.stream(model, input=text, metadata=mark)).frames[-1]
        return Decimal(json.loads(frame.split(b"data: ")[1], parse_float=Decimal)["response"]["usage"]["cost"])

    told = await asyncio.gather(*(one(number) for number in range(100)))
    bill = simulator.bill().where(lambda billed: billed.marker == "many")
    assert len(bill.lines) == len({billed.response_id for billed in bill.lines}) == 100
    assert bill.true_cost == sum(told, Decimal(0))
