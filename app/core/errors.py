"""Refusals in the shape of OpenAI's errors, so that its SDKs raise the right class and retry only where it helps.

Lives here: the one error type that crosses floors and the errors that the data plane makes itself, but those of
limits (`core.refusals`); administration has some of its own. Whose fault it is, is the function. Source of the
shape and of the retry rules: the OpenAI SDKs (`error` object, `x-should-retry`, `retry-after`), November 2026.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence

HeaderPairs = tuple[tuple[str, str], ...]

NO_RETRY: HeaderPairs = (("x-should-retry", "false"),)


class ApiError(Exception):
    """An answer that the gateway gives itself instead of the upstream's."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        headers: HeaderPairs = (),
        gateway: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.type = type
        self.param = param
        self.headers = headers
        self.gateway = gateway  # facts for programs, where there are any

    def body(self) -> bytes:
        """The JSON body: ASCII, since what is quoted in it may hold half a surrogate pair, which UTF-8 cannot say."""
        error: dict[str, object] = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        if self.gateway is not None:
            error["gateway"] = self.gateway
        return json.dumps({"error": error}).encode()


# --- the caller's side -------------------------------------------------------------------


def invalid_api_key() -> ApiError:
    """One body for absent, malformed, unknown, revoked, disabled and expired keys: nobody learns which."""
    return ApiError(
        401,
        "invalid_api_key",
        "No valid team key was given. Pass a key of this gateway (it starts with irg_) as api_key, that is as "
        "'Authorization: Bearer irg_...'. Keys come from the gateway's admin: irg keys create NAME.",
        type="authentication_error",
    )


def model_not_allowed(model: str, allowed: Sequence[str]) -> ApiError:
    nearest = difflib.get_close_matches(model, allowed, n=1, cutoff=0.5)
    hint = f" Nearest: {nearest[0]}." if nearest else ""
    return ApiError(
        403,
        "model_not_allowed",
        f"This key may not use the model {_quoted(model)}. Allowed: {', '.join(allowed)}.{hint}",
        type="permission_error",
        param="model",
    )


def model_not_found(model: str, allowed: Iterable[str]) -> ApiError:
    """For the list of models only: a request for an unknown model is the upstream's to judge."""
    nearest = difflib.get_close_matches(model, list(allowed), n=1, cutoff=0.5)
    hint = f" Nearest: {nearest[0]}." if nearest else ""
    message = f"There is no model {_quoted(model)} that this key may use.{hint}"
    return ApiError(404, "model_not_found", message, param="model")


def response_not_found(reference: str, param: str) -> ApiError:
    """The same answer for what another key made and for what never was. `param`: the member that names it."""
    return ApiError(
        400,
        "previous_response_not_found",
        f"{param} {_quoted(reference)} names nothing that was made with this key, so the request was not forwarded. "
        "Refer to what answers to this key have named, or send the content itself.",
        param=param,
    )


def bad_request(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, "invalid_request_error", message, param=param)


def bad_http(why: str) -> ApiError:
    """The connection is closed behind it: nobody can tell where the next request would begin."""
    return bad_request(f"This is not a request that the gateway reads: {why}.")


def head_too_large(limit_bytes: int, limit_headers: int) -> ApiError:
    return ApiError(
        431,
        "headers_too_large",
        f"The request's headers are more than {limit_headers}, or more than {limit_bytes} bytes together. "
        "Send fewer or shorter ones.",
    )


def request_line_too_long(limit_bytes: int) -> ApiError:
    return ApiError(414, "uri_too_long", f"The request's first line is longer than {limit_bytes} bytes.")


def request_timeout(what: str) -> ApiError:
    """Nothing was forwarded, so the SDKs may send it again."""
    return ApiError(408, "request_timeout", f"The {what} did not come in time. Nothing was forwarded.")


def too_many_connections(limit: int) -> ApiError:
    return ApiError(
        429,
        "too_many_connections",
        f"Your address has more than {limit} connections to this gateway. Close some, or reuse them.",
        type="rate_limit_error",
        headers=(("retry-after", "2"),),
    )


def body_too_large(limit_bytes: int) -> ApiError:
    return ApiError(
        413, "request_too_large", f"The request body is larger than {limit_bytes} bytes (IRG_REQUEST_BYTES_MAX)."
    )


def encoded_body(encoding: str) -> ApiError:
    return ApiError(
        415,
        "unsupported_content_encoding",
        f"Send the body without Content-Encoding (got {_quoted(encoding)}).",
    )


def wrong_path(path: str, base_url: str) -> ApiError:
    """Names the mend: another base_url, or, where that is right, what is served."""
    if path.rstrip("/").startswith(("/v1/openai/responses/", "/v1/responses/")):
        hint = (
            "Stored responses are not served: keep the answers that you get, and go on with them by "
            "previous_response_id in client.responses.create."
        )
    elif path.startswith("/v1/openai/") and not path.startswith("/v1/openai/v1/"):
        hint = "Of OpenAI's API this gateway serves client.responses.create and client.models alone."
    else:
        hint = f"Set base_url to {base_url}/v1/openai (the SDK adds /responses)."
    return ApiError(404, "not_found", f"There is nothing at {_quoted(path)}. {hint}")


def wrong_method(method: str, allowed: str) -> ApiError:
    return ApiError(
        405, "method_not_allowed", f"Use {allowed} here, not {_quoted(method)}.", headers=(("allow", allowed),)
    )


# --- the gateway's side; nothing was forwarded, but perhaps before a fault ------------------


def _overloaded(code: str, message: str, retry_after_seconds: int) -> ApiError:
    return ApiError(503, code, message, type="server_error", headers=(("retry-after", str(retry_after_seconds)),))


def overloaded() -> ApiError:
    return _overloaded("overloaded", "The gateway is full. Nothing was forwarded; try again shortly.", 2)


def shutting_down() -> ApiError:
    return _overloaded("shutting_down", "The gateway is restarting. Nothing was forwarded; try again shortly.", 2)


def ledger_unavailable() -> ApiError:
    return _overloaded(
        "ledger_unavailable", "The gateway cannot write its ledger, so nothing was forwarded. Try again shortly.", 5
    )


def gateway_fault() -> ApiError:
    """A fault of our own, at any point of a request: the SDKs must not send it again, since it may have been billed."""
    return ApiError(
        500,
        "gateway_fault",
        "The gateway failed: a fault of its own, of which its log has more. What had reached the upstream may have "
        "been billed, so it is not tried again.",
        type="server_error",
        headers=NO_RETRY,
    )


# --- the upstream's side -------------------------------------------------------------------


def upstream_unreachable(fault: str) -> ApiError:
    return ApiError(
        502,
        "upstream_unreachable",
        f"The upstream could not be reached ({fault}). Nothing was sent.",
        type="upstream_error",
    )


def models_unknown(reason: str) -> ApiError:
    return ApiError(
        502,
        "upstream_unreachable",
        f"The list of models is not known yet: {reason}. Requests may work all the same; try the list again shortly.",
        type="upstream_error",
        headers=(("retry-after", "30"),),
    )


def upstream_connect_timeout(fault: str) -> ApiError:
    return ApiError(
        504,
        "upstream_unreachable",
        f"The upstream could not be reached ({fault}). Nothing was sent.",
        type="upstream_error",
    )


def upstream_disconnected(fault: str) -> ApiError:
    return ApiError(
        502,
        "upstream_disconnected",
        f"The upstream broke off ({fault}) after the request was sent. It may have been billed; it is not tried again.",
        type="upstream_error",
        headers=NO_RETRY,
    )


def upstream_timeout(fault: str) -> ApiError:
    return ApiError(
        504,
        "upstream_timeout",
        f"The upstream took too long ({fault}). The request may have been billed; it is not tried again.",
        type="upstream_error",
        headers=NO_RETRY,
    )


def upstream_auth() -> ApiError:
    return ApiError(
        502,
        "upstream_auth",
        "The upstream refused the gateway's own key. Your team key is fine; tell the gateway's admin.",
        type="upstream_error",
        headers=NO_RETRY,
    )


def upstream_redirect() -> ApiError:
    return ApiError(
        502,
        "upstream_redirect",
        "The upstream answered with a redirect, which is never followed. Tell the gateway's admin (IRG_UPSTREAM_URL).",
        type="upstream_error",
        headers=NO_RETRY,
    )


def upstream_error(status: int) -> ApiError:
    """Stands in for an upstream error page that is not a JSON object; no excerpt of it is shown."""
    return ApiError(
        status if 500 <= status <= 599 else 502,
        "upstream_error",
        f"The upstream answered with status {status} and no JSON error.",
        type="upstream_error",
    )


def _quoted(text: str, limit: int = 200) -> str:
    """A client's own word, shortened, with control characters escaped."""
    return json.dumps(text if len(text) <= limit else text[:limit] + "…", ensure_ascii=False)
