"""Stored responses, in memory: what `previous_response_id` refers to, newest kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from app.simulator.errors import invalid
from app.simulator.request import Asked

_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Stored:
    response: dict[str, Any]
    context_tokens: int  # what a following turn finds in the cache


class Memory:
    def __init__(self) -> None:
        self._stored: OrderedDict[str, Stored] = OrderedDict()

    def context_tokens(self, asked: Asked) -> int:
        """Tokens that the conversation so far adds to this turn.

        Raises: `RefusedError` (400) for an unknown response.
        """
        if asked.previous_response_id is None:
            return 0
        stored = self._stored.get(asked.previous_response_id)
        if stored is None:
            raise invalid(
                f"Previous response with id '{asked.previous_response_id}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        return stored.context_tokens

    def keep(self, asked: Asked, response: dict[str, Any], context_tokens: int) -> None:
        if asked.fields.get("store") is False:
            return
        self._stored[response["id"]] = Stored(response, context_tokens)
        if len(self._stored) > _KEPT_MAX:
            self._stored.popitem(last=False)

    def find(self, response_id: str) -> dict[str, Any] | None:
        stored = self._stored.get(response_id)
        return stored.response if stored is not None else None

    def forget(self, response_id: str) -> bool:
        return self._stored.pop(response_id, None) is not None
