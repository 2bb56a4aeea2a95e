"""Which functions of a request are called, and whether its calls and their results belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.simulator.errors import invalid
from app.simulator.request import Asked

Item = dict[str, Any]


def functions_to_call(asked: Asked, *, every: bool = False) -> list[Item]:
    """The first function that may be called, or `every` one; none if the request forbids it or brings a result."""
    choice = asked.fields.get("tool_choice", "auto")
    last = asked.items[-1] if asked.items else None
    if choice == "none" or (isinstance(last, dict) and last.get("type") == "function_call_output"):
        return []
    wanted = _wanted(choice)
    allowed = [tool for tool in _functions(asked) if wanted is None or tool["name"] in wanted]
    return allowed if every and asked.fields.get("parallel_tool_calls") is not False else allowed[:1]


def check_tools(asked: Asked, earlier: Sequence[Any]) -> None:
    """Refuses what OpenAI refuses: a named function that is not there, a result of no call.

    `earlier`: the items of the stored conversation; references to items are resolved before. Raises: `RefusedError`.
    """
    choice = asked.fields.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        names = [tool["name"] for tool in _functions(asked)]
        if choice.get("name") not in names:
            raise invalid("Tool choice 'function' not found in 'tools' parameter.", "tool_choice")
    calls = [item for item in (*earlier, *asked.items) if _field(item, "type") == "function_call"]
    called = {_field(item, "call_id") for item in calls} - {None}
    for item in asked.items:
        if _field(item, "type") == "function_call_output" and _field(item, "call_id") not in called:
            raise invalid(
                f"No tool call found for function call output with call_id {_field(item, 'call_id')}.", "input"
            )


def _wanted(choice: object) -> set[object] | None:
    """The names that `tool_choice` allows; None = all."""
    if not isinstance(choice, dict):
        return None
    if choice.get("type") != "allowed_tools":
        return {choice.get("name")}
    tools = choice.get("tools")
    return {_field(tool, "name") for tool in tools} if isinstance(tools, list) else set()


def _functions(asked: Asked) -> list[Item]:
    tools = asked.fields.get("tools")
    return [tool for tool in tools if _is_function(tool)] if isinstance(tools, list) else []


def _is_function(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function" and isinstance(tool.get("name"), str)


def _field(item: object, name: str) -> Any:
    """A field whose value can be looked up; None for everything else."""
    value = item.get(name) if isinstance(item, dict) else None
    return value if isinstance(value, str) else None
