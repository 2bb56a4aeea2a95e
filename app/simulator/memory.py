"""Stored responses and their items, in memory and by account: what requests refer to, newest kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
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
    """An account is who asks with one upstream key: nothing of another's is there for it."""

    def __init__(self) -> None:
        self._stored: OrderedDict[tuple[str, str], Stored] = OrderedDict()
        self._items: dict[tuple[str, str], Any] = {}

    def earlier(self, asked: Asked) -> Earlier:
        """The conversation that this turn goes on with.

        Raises: `RefusedError` (400) for an unknown response.
        """
        if asked.previous_response_id is None:
            return Earlier()
        stored = self._stored.get((asked.upstream_key, asked.previous_response_id))
        if stored is None:
            raise invalid(
                f"Previous response with id '{asked.previous_response_id}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        return stored.conversation

    def whole(self, asked: Asked) -> Asked:
        """The same with the stored items in the places of references to them. Raises: `RefusedError` (400)."""
        if not any(_is_reference(item) for item in asked.items):
            return asked
        return replace(asked, items=tuple(self._item(asked, item) for item in asked.items))

    def _item(self, asked: Asked, item: Any) -> Any:
        if not _is_reference(item):
            return item
        stored = self._items.get((asked.upstream_key, item["id"]))
        if stored is None:
            raise invalid(f"Item with id '{item['id']}' not found.", "input")
        return stored

    def keep(self, asked: Asked, response: dict[str, Any], earlier: Earlier, context_tokens: int) -> None:
        """`context_tokens`: what a following turn finds in the cache."""
        if asked.fields.get("store") is False:
            return
        items = (*earlier.items, *asked.items, *response["output"])
        account = asked.upstream_key
        self._stored[account, response["id"]] = Stored(response, asked.items, Earlier(items, context_tokens))
        self._items |= {(account, item["id"]): item for item in response["output"]}
        if len(self._stored) > _KEPT_MAX:
            self._forget(*next(iter(self._stored)))

    def find(self, account: str, response_id: str) -> Stored | None:
        return self._stored.get((account, response_id))

    def forget(self, account: str, response_id: str) -> bool:
        return (account, response_id) in self._stored and self._forget(account, response_id)

    def _forget(self, account: str, response_id: str) -> bool:
        stored = self._stored.pop((account, response_id))
        for item in stored.response["output"]:
            self._items.pop((account, item["id"]), None)
        return True


def _is_reference(item: Any) -> bool:
    """An item that is only named by its id, with or without its type."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return False
    return item.get("type") == "item_reference" or item.keys() == {"id"}


def _with_id(item: Any, number: int, response_id: str) -> dict[str, Any]:
    fields = item if isinstance(item, dict) else {}
    content = fields.get("content")
    if isinstance(content, str):
        fields = fields | {"content": [{"type": "input_text", "text": content}]}
    return {"type": "message", "id": item_id("in", response_id, number + 1), "status": "completed", **fields}
