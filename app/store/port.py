"""The store's errors; its Protocol follows below them.

Lives here: what the accounts may expect of any store. Lives elsewhere: how SQLite keeps it.
"""

from __future__ import annotations


class StoreError(Exception):
    """Something about the store; `str(exc)` is a sentence for the operator."""


class LedgerUnavailable(StoreError):
    """The ledger cannot be read or written now; nothing was forwarded because of it. Try again later."""


class LedgerLost(StoreError):
    """A settlement reached neither the database nor the spool: the end of its answer must not be sent."""


class StoreLocked(StoreError):
    """Another process owns the database."""


class SchemaTooNew(StoreError):
    """The database was written by a newer version of the gateway."""


class BadDatabaseUrl(StoreError):
    """The database URL names nothing that can be opened."""


class NameExists(StoreError):
    """A key or team of this name is there already."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} exists")
        self.kind = kind
        self.name = name


class RowMissing(StoreError):
    """The key or team referred to is not there."""

    def __init__(self, kind: str, ref: str) -> None:
        super().__init__(f"no {kind} {ref!r}")
        self.kind = kind
        self.ref = ref


class KeyIsRevoked(StoreError):
    """A revoked key is final."""

    def __init__(self, name: str) -> None:
        super().__init__(f"key {name!r} is revoked")
        self.name = name
