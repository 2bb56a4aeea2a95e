"""Values of every shape that the installed OpenAI SDK's types allow for a create-parameter."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NotRequired, Required

from openai.types.responses.response_create_params import ResponseCreateParamsBase
from typing_extensions import is_typeddict

DEPTH_MAX = 6  # filters of file searches contain themselves

_PLAIN: dict[Any, list[object]] = {
    str: ["text, “é”, \\ and \U0001f600"],
    int: [7],
    float: [0.3],
    bool: [True, False],
    object: [{"any": [1, None]}],
    Any: ["anything"],
    types.NoneType: [None],
}


# What stands here must look like an id, or it is refused.
_NAMES_OF_IDS = ("id", "ids", "container")


# Members that may name something stored: what does not look like an id is refused, whoever may refer to what.
_IDS = re.compile(r"(?:.*_)?ids?|container")


def create_parameters() -> dict[str, Any]:
    """Every parameter's name and type, `model` and `stream` aside."""
    hints = typing.get_type_hints(ResponseCreateParamsBase)
    return {name: hint for name, hint in hints.items() if name != "model"}


def samples(hint: Any, depth: int = 0) -> Iterator[object]:
    """At least one value for each arm of each union."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        yield from _PLAIN[hint]
    elif origin in (Required, NotRequired, typing.Annotated):
        yield from samples(arguments[0], depth)
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from samples(argument, depth)
    elif origin is typing.Literal:
        yield from arguments
    elif is_typeddict(hint):
        yield from _dictionaries(hint, depth)
    else:
        yield _collection(hint, origin, arguments, depth)


def _collection(hint: Any, origin: Any, arguments: tuple[Any, ...], depth: int) -> object:
    """One that holds every sample of its elements."""
    if not (isinstance(origin, type) and issubclass(origin, Iterable)):
        raise TypeError(f"the SDK has a type that has no sample yet: {hint!r}")
    elements = [] if depth > DEPTH_MAX else list(samples(arguments[-1], depth + 1))
    if issubclass(origin, Mapping):
        return {f"key {number}": element for number, element in enumerate(elements)}
    return elements


def _dictionaries(hint: Any, depth: int) -> Iterator[dict[str, object]]:
    """One with every key; then, for each key, one for every further value it can have."""
    if depth > DEPTH_MAX:
        yield {}
        return
    values = {
        name: [_as_id(value) if name.endswith(_NAMES_OF_IDS) else value for value in samples(kind, depth + 1)]
        for name, kind in typing.get_type_hints(hint).items()
    }
    whole = {name: some[0] for name, some in values.items()}
    yield whole
    for name, some in values.items():
        for value in some[1:]:
            yield whole | {name: value}


def _as_id(value: object) -> object:
    if isinstance(value, list):
        return [_as_id(one) for one in value]
    return "id_1" if isinstance(value, str) else value


def _id_like(value: object) -> object:
    """The same with ids in the place of texts."""
    if isinstance(value, list):
        return [_id_like(one) for one in value]
    return "thing_1" if isinstance(value, str) else value
