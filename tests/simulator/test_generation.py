"""What the model says, as a function of what it is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.behaviours import Behaviour
from app.simulator.errors import RefusedError
from app.simulator.generation import Generation, generate, pieces
from app.simulator.registry import ORDINARY, behaviour_of
from app.simulator.request import Asked, understand

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def asked(**fields: Any) -> Asked:
    return understand(json.dumps({"model": "m", "input": "Say hello", **fields}).encode(), {})


def said(behaviour: Behaviour = ORDINARY, **fields: Any) -> Generation:
    return generate(asked(**fields), behaviour, "resp_1")


def text_of(generation: Generation) -> str:
    return str(generation.items[-1]["content"][0]["text"])


@given(st.text())
def test_pieces_put_together_are_the_text(text: str) -> None:
    """A stream's deltas say exactly the final text."""
    assert "".join(pieces(text)) == text


@given(st.text(min_size=1))
def test_the_same_question_gets_the_same_answer(text: str) -> None:
    """Words depend on the input alone."""
    assert said(input=text) == said(input=text)


def test_ids_of_an_earlier_turn_change_no_word() -> None:
    """A conversation held twice is the same twice, although its calls have new ids."""

    def second_turn(number: int) -> str:
        call = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": "f"}
        result = {"type": "function_call_output", "call_id": f"call_{number}", "output": "no rain"}
        return text_of(said(input=["Is it raining?", call, result]))

    assert second_turn(1) == second_turn(2)


def test_another_question_gets_another_answer() -> None:
    """Tests can tell answers apart."""
    assert text_of(said(input="one")) != text_of(said(input="two"))


def test_a_string_and_a_users_message_are_the_same_question() -> None:
    """Both forms of `input`."""
    parts = [{"type": "input_text", "text": "Say hello"}]
    assert "Say hello" in text_of(said(input=[{"role": "user", "content": parts}]))


def test_too_few_output_tokens_leave_the_answer_incomplete() -> None:
    """As many tokens as were allowed, no more."""
    cut = said(max_output_tokens=5)
    assert (cut.status, cut.tokens.output, cut.items[0]["status"]) == ("incomplete", 5, "incomplete")
    assert text_of(said()).startswith(text_of(cut))


def test_thoughts_may_use_up_the_tokens() -> None:
    """Then there is a reasoning item and no message."""
    cut = said(behaviour_of("sim/reasoning"), max_output_tokens=10)
    assert [item["type"] for item in cut.items] == ["reasoning"]
    assert (cut.status, cut.tokens.output, cut.tokens.reasoning) == ("incomplete", 10, 10)


def test_a_summary_of_thoughts_is_given_when_asked_for() -> None:
    """And the encrypted thoughts too."""
    bare = said(behaviour_of("openai/o4-mini"))
    told = said(behaviour_of("openai/o4-mini"), reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"])
    assert (bare.items[0]["summary"], "encrypted_content" in bare.items[0]) == ([], False)
    assert told.items[0]["summary"][0]["text"]
    assert told.items[0]["encrypted_content"]


def test_a_tool_is_called_and_its_result_ends_the_matter() -> None:
    """Two turns: a call, then words about what it gave back."""
    first = said(tools=[WEATHER])
    call = first.items[0]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == (
        "function_call",
        "get_weather",
        {"city": "simulated"},
    )
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Rain."}
    assert text_of(said(tools=[WEATHER], input=["…", call, result])).startswith("The function said: Rain.")


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", None),
        ("auto", "get_weather"),
        ("required", "get_weather"),
        ({"type": "function", "name": "two"}, "two"),
    ],
)
def test_tool_choice_decides_which_tool_is_called(choice: object, called: str | None) -> None:
    """None, any, or the named one."""
    item = said(tools=[{"type": "web_search"}, WEATHER, WEATHER | {"name": "two"}], tool_choice=choice).items[0]
    assert item.get("name") == called


def test_structured_output_follows_the_schema() -> None:
    """`text.format` json_schema and json_object."""
    schema = {"type": "object", "properties": {"n": {"type": "number", "const": 0.5}}}
    assert json.loads(text_of(said(text={"format": {"type": "json_schema", "schema": schema}}))) == {"n": 0.5}
    assert isinstance(json.loads(text_of(said(text={"format": {"type": "json_object"}}))), dict)


def test_words_can_be_ordered_by_number() -> None:
    """`sim/words:N`."""
    few, many = (len(pieces(text_of(said(behaviour_of(f"sim/words:{n}"))))) for n in (10, 1010))
    assert many - few == 1000


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x"},
        {"model": "", "input": "x"},
        {"model": 1, "input": "x"},
        {"model": "m"},
        {"model": "m", "input": 1},
        {"model": "m", "input": "x", "stream": "yes"},
        {"model": "m", "input": "x", "max_output_tokens": 0},
        {"model": "m", "input": "x", "max_output_tokens": True},
        {"model": "m", "input": "x", "previous_response_id": 1},
        {"model": "m", "input": "x", "background": True},
        [],
    ],
)
def test_a_request_that_makes_no_sense_is_refused(body: object) -> None:
    """With 400, as the upstream does."""
    with pytest.raises(RefusedError) as refused:
        understand(json.dumps(body).encode(), {})
    assert refused.value.answer.status == 400


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.booleans(),
        lambda s: st.lists(s) | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "output"]), s),
    )
)
def test_any_input_array_is_answered(item: object) -> None:
    """Items that the simulator does not know are passed over."""
    assert said(input=[item]).items


@pytest.mark.parametrize("model", ["sim/nothing", "sim/fast:10", "sim/slow:soon", "sim/slow:-1", "sim/slow:٣", "sim/"])
def test_a_model_that_does_not_exist_is_named(model: str) -> None:
    """The sentence says where the list is."""
    with pytest.raises(LookupError, match="irg simulate --list"):
        behaviour_of(model)
