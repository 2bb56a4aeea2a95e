"""What passes only where the operator lets it: conversations and the background.

Lives here: the refusals that need a setting and nothing else. What a body refers to is the ledger's to
judge (`core.admission`), in the transaction that admits the request.
"""

from __future__ import annotations

from app.core.errors import bad_request
from app.core.value import Value
from app.proxy.policy import Policy


class Allowed(Value, frozen=True):
    """What passes only where the operator lets it."""

    conversations: bool = False
    background: bool = False


def check_policy(policy: Policy, allowed: Allowed) -> None:
    """Refuses what passes only where the operator allows it. Raises: `ApiError` 400."""
    if policy.conversation is not None and not allowed.conversations:
        raise bad_request(
            "conversation is refused: a conversation cannot be tied to the key that made it. Send the items in "
            "input, or use previous_response_id.",
            "conversation",
        )
    if policy.background and not allowed.background:
        raise bad_request(
            "background: true is refused: its answer ends before its cost is known. Leave it out, and use "
            "stream: true for what takes long.",
            "background",
        )
