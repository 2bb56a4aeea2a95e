"""Which functions are called, and what is refused when calls and results do not belong together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.simulator.errors import RefusedError
from app.simulator.request import Asked, understand
from app.simulator.tools import check_tools, functions_to_call
from tests.simulated_upstream import SimulatorUnderTest

TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}} for name in ("one", "two")
]
CALL = {"type": "function_call", "call_id": "call_1", "name": "one", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "done"}


def asked(**fields: Any) -> Asked:
    return understand(json.dumps({"model": "m", "input": "?", "tools": TOOLS, **fields}).encode(), {})


def called(*, every: bool = False, **fields: Any) -> list[str]:
    return [tool["name"] for tool in functions_to_call(asked(**fields), every=every)]


def allowed(*names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": name} for name in names]}


def test_one_function_is_called_or_every_one() -> None:
    """`parallel_tool_calls: false` means one, too."""
    assert called() == ["one"]
    assert called(every=True) == ["one", "two"]
    assert called(every=True, parallel_tool_calls=False) == ["one"]


def test_only_allowed_functions_are_called() -> None:
    """By `allowed_tools`, in the order of the tools."""
    assert called(every=True, tool_choice=allowed("two")) == ["two"]
    assert called(tool_choice=allowed()) == []
    assert called(every=True, tool_choice="none") == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": {"type": "function", "name": "three"}}, "tool_choice"),
        ({"input": [RESULT]}, "input"),
        ({"input": [CALL, RESULT | {"call_id": "call_2"}]}, "input"),
        ({"input": [CALL | {"call_id": None}, {"type": "function_call_output", "output": "?"}]}, "input"),
    ],
)
def test_what_does_not_belong_together_is_refused(fields: dict[str, Any], param: str) -> None:
    """As OpenAI does: 400 that names the parameter."""
    with pytest.raises(RefusedError) as refused:
        check_tools(asked(**fields), ())
    answer = refused.value.answer
    assert (answer.status, json.loads(answer.body)["error"]["param"]) == (400, param)


def test_a_result_belongs_to_a_call_of_this_turn_or_an_earlier_one() -> None:
    """In the input, or in the stored conversation."""
    check_tools(asked(input=[CALL, RESULT]), ())
    check_tools(asked(input=[RESULT]), (CALL,))


async def test_a_conversation_is_kept_with_its_input(simulator: SimulatorUnderTest) -> None:
    """Three turns by `previous_response_id`: calls, results, words; each turn's own input is listed."""
    first = (await simulator.post("sim/parallel-calls", input="Both, please", tools=TOOLS)).json()
    calls = [item["call_id"] for item in first["output"]]
    assert [item["name"] for item in first["output"]] == ["one", "two"]
    results = [{"type": "function_call_output", "call_id": call_id, "output": "done"} for call_id in calls]
    second = (await simulator.post("sim/fast", input=results, previous_response_id=first["id"], tools=TOOLS)).json()
    assert second["output"][0]["content"][0]["text"].startswith("The function said: done")
    third = (await simulator.post("sim/fast", input=results, previous_response_id=second["id"])).json()
    assert third["usage"]["input_tokens_details"]["cached_tokens"] == second["usage"]["total_tokens"]
    items = (await simulator.client.get(f"/v1/openai/responses/{first['id']}/input_items")).json()
    assert [item["content"] for item in items["data"]] == [[{"type": "input_text", "text": "Both, please"}]]
    assert (items["object"], items["has_more"], items["first_id"]) == ("list", False, items["last_id"])


async def test_what_was_said_before_changes_the_answer(simulator: SimulatorUnderTest) -> None:
    """The same words after another beginning get another answer, and the same one after the same."""

    async def after(beginning: str) -> str:
        first = (await simulator.post("sim/fast", input=beginning)).json()
        second = (await simulator.post("sim/fast", input="And then?", previous_response_id=first["id"])).json()
        return str(second["output"][0]["content"][0]["text"])

    assert await after("Once upon a time") == await after("Once upon a time")
    assert await after("Once upon a time") != await after("Never")


async def test_items_are_stored_by_their_ids(simulator: SimulatorUnderTest) -> None:
    """A call that is only referred to is the call, with or without a type; one that is deleted or unstored is none."""
    first = (await simulator.post("sim/fast", tools=TOOLS)).json()
    call = first["output"][0]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "done"}
    for reference in ({"type": "item_reference", "id": call["id"]}, {"id": call["id"]}):
        second = (await simulator.post("sim/fast", input=[reference, result])).json()
        assert second["output"][0]["content"][0]["text"].startswith("The function said: done")
    unstored = (await simulator.post("sim/fast", tools=TOOLS, store=False)).json()["output"][0]["id"]
    await simulator.client.delete(f"/v1/openai/responses/{first['id']}")
    for gone in (unstored, call["id"], "fc_invented"):
        refused = await simulator.post("sim/fast", input=[{"type": "item_reference", "id": gone}, result])
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, f"Item with id '{gone}' not found.")


async def test_an_account_has_what_it_stored_alone(simulator: SimulatorUnderTest) -> None:
    """Another upstream key finds neither the response nor its items."""
    first = (await simulator.post("sim/fast")).json()
    stranger = {"authorization": "Bearer of-another-account"}
    path = f"/v1/openai/responses/{first['id']}"
    for fields in ({"previous_response_id": first["id"]}, {"input": [{"id": first["output"][0]["id"]}]}):
        assert (await simulator.post("sim/fast", **fields)).status_code == 200
        assert (await simulator.post("sim/fast", headers=stranger, **fields)).status_code == 400
    assert (await simulator.client.get(path, headers=stranger)).status_code == 404
    assert (await simulator.client.delete(path, headers=stranger)).status_code == 404
    assert (await simulator.client.get(path)).status_code == 200
