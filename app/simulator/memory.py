"""Stored responses, in memory: what `previous_response_id` refers to, newest kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from app.simulator.errors import invalid
from app.simulator.generation import Earlier
from app.simulator.items import item_id
from app.simulator.request import Asked

_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Stored:
    response: dict[str, Any]
    input: tuple[Any, ...]  # the items of the request alone
    conversation: Earlier  # everything up to and with this response

    def input_list(self) -> dict[str, Any]:
        """The input items in OpenAI's list shape, each with an id."""
        items = [_with_id(item, number, self.response["id"]) for number, item in enumerate(self.input)]
        ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": "", "last_id": ""}
        return {"object": "list", "data": items, **ends, "has_more": False}


class Memory:
    def __init__(self) -> None:
        self._stored: OrderedDict[str, Stored] = OrderedDict()

    def earlier(self, asked: Asked) -> Earlier:
        """The conversation that this turn goes on with.

        Raises: `RefusedError` (400) for an unknown response.
        """
        if asked.previous_response_id is None:
            return Earlier()
        stored = self._stored.get(asked.previous_response_id)
        if stored is None:
            raise invalid(
                f"Previous response with id '{asked.previous_response_id}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        return stored.conversation

    def keep(self, asked: Asked, response: dict[str, Any], earlier: Earlier, context_tokens: int) -> None:
        """`context_tokens`: what a following turn finds in the cache."""
        if asked.fields.get("store") is False:
            return
        items = (*earlier.items, *asked.items, *response["output"])
        self._stored[response["id"]] = Stored(response, asked.items, Earlier(items, context_tokens))
        if len(self._stored) > _KEPT_MAX:
            self._stored.popitem(last=False)

    def find(self, response_id: str) -> Stored | None:
        return self._stored.get(response_id)

    def forget(self, response_id: str) -> bool:
        return self._stored.pop(response_id, None) is not None


def _with_id(item: Any, number: int, response_id: str) -> dict[str, Any]:
    fields = item if isinstance(item, dict) else {}
    content = fields.get("content")
    if isinstance(content, str):
        fields = fields | {"content": [{"type": "input_text", "text": content}]}
    return {"type": "message", "id": item_id("in", response_id, number + 1), "status": "completed", **fields}
