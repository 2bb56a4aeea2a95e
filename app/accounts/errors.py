"""What can be wrong with what a person asks for, as sentences that say what to write instead.

The control plane maps the three kinds to its statuses and exit codes: `NotFound` 404/3,
`Conflict` 409/4, `Invalid` 400/2. `LedgerUnavailable` (503/1) is the store's and passes through.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime

from app.core.clock import format_time
from app.core.keys import shown_text


class AccountsError(Exception):
    """`str(exc)` is the sentence to show; `param` names the field at fault, if one is."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class NotFound(AccountsError):
    """What was named is not there."""


class Conflict(AccountsError):
    """What was asked does not go together with what is there."""


class Invalid(AccountsError):
    """What was given can never be right."""


class KeyNotFound(NotFound):
    def __init__(self, ref: str, names: Iterable[str] = ()) -> None:
        super().__init__(f"There is no key {_quoted(ref)}.{_nearest(ref, names)} See: irg keys list.", param="key")


class TeamNotFound(NotFound):
    def __init__(self, ref: str, names: Iterable[str] = ()) -> None:
        super().__init__(
            f"There is no team {_quoted(ref)}.{_nearest(ref, names)} Make it with: irg teams create NAME.", param="team"
        )


class RequestNotFound(NotFound):
    """`let_go_before`: rows of requests made before are gone, perhaps this one's too; `was_made_before`: surely."""

    def __init__(self, ref: str, let_go_before: datetime | None = None, *, was_made_before: bool = False) -> None:
        gone = "" if let_go_before is None else f" {_let_go(let_go_before)}"
        hint = " Give its own id (req_...), the upstream's request id or the id of its response (resp_...)."
        super().__init__(
            f"There is no request {_quoted(ref)}{' any more' if was_made_before else ''}."
            f"{'' if was_made_before else hint}{gone}",
            param="request",
        )


class RowsLetGo(NotFound):
    """What was asked for reaches back to requests whose rows are gone."""

    def __init__(self, let_go_before: datetime) -> None:
        super().__init__(
            f"{_let_go(let_go_before)} What is asked for would lack them: ask for what was made from then on "
            f"(--from {format_time(let_go_before)}).",
            param="from",
        )


class RefusalNotFound(NotFound):
    def __init__(self, ref: str) -> None:
        super().__init__(
            f"There is no refused request {_quoted(ref)}. Give its id (req_...); of refused requests the newest are "
            "held, older ones are only counted.",
            param="id",
        )


class CannotResolve(Conflict):
    """A request whose cost is no longer, or was never, unknown; or rows that changed since they were looked at."""


class NameTaken(Conflict):
    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"There is already a {kind} named {_quoted(name)} (names stay taken when a key is revoked, so that "
            f"reports stay clear). Choose another name, or rename the old {kind} first.",
            param="name",
        )


class SecretTaken(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"The key {_quoted(name)} has this secret already; two keys cannot share one, or nobody could tell whose "
            "a request is. Leave the secret out, and a new one is made.",
            param="secret",
        )


class KeyRevoked(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"The key {_quoted(name)} is revoked, which is final. Create a new key instead.", param="key")


class BadName(Invalid):
    """A key or team name that would be hard to read, type or quote."""


class BadValue(Invalid):
    """Another field that cannot be right: a tag, a model pattern, an expiry, a cursor, a limit."""


def _let_go(before: datetime) -> str:
    return (
        f"Of requests made before {format_time(before)} the rows were let go of (IRG_RETENTION_DAYS); "
        "their sums stay: irg usage."
    )


def _nearest(ref: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(ref, list(names), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _quoted(text: str, limit: int = 80) -> str:
    text = shown_text(text)
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:limit])
    return f"'{shown}{'…' if len(text) > limit else ''}'"
