"""Finds what the body of a request refers to: stored things of the upstream's account, by their ids.

Lives here: which members of a body name something stored. Must not live here: whose the things are
(`admission`), and `previous_response_id` and `conversation` of the body itself (`policy`, the only caller).

Source of the names: OpenAI's API reference and the types of its SDKs, November 2026. What counts:

- an item of `input` with an `id` that does not bring its own content: `item_reference`, with or without
  its type, a picture without its `result`, reasoning without `encrypted_content`. An answer's items sent
  back whole are content, not references: nothing needs to be loaded for them;
- an `item_reference` wherever else it stands: nobody writes one there, and an upstream may flatten what is nested;
- `prompt.id`, and every id of a file, container, vector store, skill, tunnel or response, anywhere but in
  what is only data: metadata, schemas, arguments of functions, citations.

An upstream may take the first or the last of two equal names, so each of them counts; and an item with a
name twice, of an unknown kind, or with an empty content is one that does not bring its content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from app.core.slices import Slice, slices

# The most that one body may refer to: each is looked up by the one writer.
REFERENCES_MAX = 500

# A body up to this size is decoded at once: a millisecond.
WHOLE_BYTES_MAX = 64 * 1024

# What an item must bring not to be a reference, by its type. A role without a type makes a message.
CONTENT_OF = {
    "message": "content",
    "function_call": "arguments",
    "function_call_output": "output",
    "custom_tool_call": "input",
    "custom_tool_call_output": "output",
    "reasoning": "encrypted_content",
    "compaction": "encrypted_content",
    "image_generation_call": "result",
    "web_search_call": "action",
    "file_search_call": "results",
    "code_interpreter_call": "code",
    "computer_call_output": "output",
    "local_shell_call": "action",
    "local_shell_call_output": "output",
    "shell_call": "action",
    "shell_call_output": "output",
    "apply_patch_call": "operation",
    "apply_patch_call_output": "output",
    "tool_search_call": "arguments",
    "tool_search_output": "tools",
    "additional_tools": "tools",
    "mcp_list_tools": "tools",
    "mcp_call": "arguments",
    "mcp_approval_request": "arguments",
}

# Members whose strings are ids, whatever they stand in.
_KINDS = "file|container|vector_store|skill|tunnel|prompt|conversation|(?:[a-z]+_)*response"
_NAMES_SOMETHING = re.compile(rf"(?:{_KINDS})_ids?|container")
_ENDINGS = ("_id", "_ids", "container")

_REFERENCE = ("type", "item_reference")

# Members that hold data of the client's own, not of the API's: nothing in them is loaded.
_DATA = frozenset({"parameters", "input_schema", "arguments", "annotations", "results", "env", "headers"})
_DATA_OF_BODY = frozenset({"metadata", "text", "conversation", "previous_response_id"})


class TooMany(ValueError):
    """The body refers to more than anybody needs."""


class _Members(tuple[tuple[str, Any], ...]):
    """The members of an object, also those of equal names."""

    __slots__ = ()


_CONTAINERS = (_Members, list)


def _no_number(text: str) -> None:
    """Nobody needs them, and Python refuses to read those of thousands of digits."""


_decoder = json.JSONDecoder(object_pairs_hook=_Members, parse_int=_no_number, parse_float=_no_number, strict=False)


def may_refer(body: bytes) -> bool:
    """Whether it is worth looking: each name ends in one of these, or is spelt with an escape."""
    return b'id"' in body or b'ids"' in body or b'container"' in body or b"\\u00" in body


def member_may_refer(name: str, value: bytes) -> bool:
    """The same for one member of a body, its value as JSON text: a prompt of many thousand characters is not searched.

    A text or a number names something by its member's name alone; what stands in it is only text.
    """
    return name.endswith(_ENDINGS) or (value.startswith((b"[", b"{")) and may_refer(value))


def find_references(body: bytes) -> Generator[None, None, dict[str, str]]:
    """What a body refers to: by id, the member that names it first, such as `input[2].id`. A step at a time.

    `body`: the text of a JSON object that was found valid. Raises: `TooMany`, `TooIntricate`.
    """
    found = _Found()
    if len(body) <= WHOLE_BYTES_MAX:
        for name, value in _decoder.decode(body.decode("utf-8")):
            found.look(name, value, 0)
    else:
        for part in slices(body, _DATA_OF_BODY):
            if part is not None:
                found.look_at(part)
            yield
    return found.all()


class _Found:
    """What was found so far."""

    __slots__ = ("_approvals", "_brought", "_found")

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._brought: set[str] = set()  # ids of items that came with their content
        self._approvals: dict[str, str] = {}  # ids of requests that may stand in the same body

    def all(self) -> dict[str, str]:
        for one, param in self._approvals.items():
            if one not in self._brought:
                self._add(one, param)
        return self._found

    def look_at(self, part: Slice) -> None:
        self.look(part.name, _decoder.decode(part.text.decode("utf-8")), part.number or 0)

    def look(self, name: str, value: Any, number: int) -> None:
        """At a member of the body. `number`: of the first element of an array that is cut in parts."""
        if name in _DATA_OF_BODY:
            return
        if name == "input":
            items = [value] if isinstance(value, _Members) else value if isinstance(value, list) else ()
            for index, item in enumerate(items, number):
                self._item(item, f"input[{index}]")
        elif name == "prompt":
            self._prompt(value)
        else:
            self._member(name, value, "", _DATA)

    def _item(self, item: Any, param: str) -> None:
        if not isinstance(item, _Members):
            self._member("", item, param, _DATA)
            return
        names = [name for name, _ in item]
        ids = _ids(item)
        if ids and not _brings_content(item, names):
            self._add_all(ids, f"{param}.id")
        else:
            self._brought.update(ids)
        for name, value in item:
            if name == "approval_request_id" and isinstance(value, str):
                self._approvals.setdefault(value, f"{param}.{name}")
            elif not isinstance(value, str) or name not in ("id", "type", "role", "content", "arguments", "output"):
                self._member(name, value, param, _DATA)

    def _prompt(self, prompt: Any) -> None:
        """The names in it are partly the client's, so none of them is passed over."""
        for name, value in prompt if isinstance(prompt, _Members) else ():
            if name == "id" and isinstance(value, str):
                self._add(value, "prompt.id")
            else:
                self._member(name, value, "prompt", frozenset())

    def _member(self, name: str, value: Any, param: str, data: frozenset[str]) -> None:
        if name in data:
            return
        self._note(name, value, param)
        if isinstance(value, _CONTAINERS):
            self._value(value, param or name, data)

    def _value(self, value: Any, param: str, data: frozenset[str]) -> None:
        """Everything in it, however deep: without recursion, since bodies may be deeper than that goes."""
        stack = [value]
        while stack:
            value = stack.pop()
            if isinstance(value, list):
                stack += [inner for inner in value if isinstance(inner, _CONTAINERS)]
                continue
            if _REFERENCE in value:
                self._add_all(_ids(value), f"{param}.id")
            for name, inner in value:
                if name not in data:
                    self._note(name, inner, param)
                    if isinstance(inner, _CONTAINERS):
                        stack.append(inner)

    def _note(self, name: str, value: Any, param: str) -> None:
        """What a member names, if it is one that names something."""
        if name.endswith(_ENDINGS) and _NAMES_SOMETHING.fullmatch(name):
            self._add_all(_strings(value), f"{param}.{name}" if param else name)

    def _add_all(self, ids: Iterable[str], param: str) -> None:
        for one in ids:
            self._add(one, param)

    def _add(self, one: str, param: str) -> None:
        self._found.setdefault(one, param)
        if len(self._found) > REFERENCES_MAX:
            raise TooMany


def _brings_content(item: _Members, names: Sequence[str]) -> bool:
    """Nothing needs to be loaded for this item."""
    if len(set(names)) < len(names):
        return False
    members = dict(item)
    kind = members.get("type")
    if kind is None and "role" in members:
        kind = "message"
    return isinstance(kind, str) and bool(members.get(CONTENT_OF.get(kind, "")))


def _ids(members: _Members) -> list[str]:
    return [value for name, value in members if name == "id" and isinstance(value, str)]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))
