"""The event that ends a stream which the upstream broke off."""

from __future__ import annotations

import json

from app.core.errors import ApiError


def error_event(error: ApiError, last_sequence_number: int | None) -> bytes:
    """One event that every SDK raises on: OpenAI's flat form and the nested one together."""
    nested = {"message": error.message, "type": error.type, "param": None, "code": error.code}
    event = {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "param": None,
        "sequence_number": 0 if last_sequence_number is None else last_sequence_number + 1,
        "error": nested,
    }
    return b"event: error\ndata: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
