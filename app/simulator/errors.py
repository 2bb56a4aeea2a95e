"""Errors in the upstream's shape: `{"error":{"message","type"}}`, with `param` and `code` only where it gives them."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.simulator.jsontext import write

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A whole answer that is not a generation.

    `free`: it proves that nothing was billed. What a server says when it fails proves nothing.
    """

    status: int
    body: bytes
    content_type: str | None = "application/json"
    headers: Headers = ()
    free: bool = True


@dataclass(slots=True)
class RefusedError(Exception):
    """Raised anywhere while a request is understood; the application sends its answer."""

    answer: ErrorAnswer = field()


def error_answer(
    status: int,
    type_: str,
    message: str,
    *,
    headers: Headers = (),
    param: str | None = None,
    code: str | None = None,
    free: bool = True,
) -> ErrorAnswer:
    error = {"message": message, "type": type_}
    error |= {name: value for name, value in (("param", param), ("code", code)) if value is not None}
    return ErrorAnswer(status, write({"error": error}), headers=headers, free=free)


def unauthorized() -> ErrorAnswer:
    return error_answer(401, "unauthorized", "Invalid or missing API key.")


def invalid(message: str, param: str | None = None, code: str | None = None) -> RefusedError:
    return RefusedError(error_answer(400, "invalid_request_error", message, param=param, code=code))


def not_found(path: str) -> ErrorAnswer:
    return error_answer(404, "not_found", f"There is nothing at {path}.")


def wrong_method(allowed: str) -> ErrorAnswer:
    return error_answer(405, "method_not_allowed", f"Use {allowed} here.", headers=(("allow", allowed),))
