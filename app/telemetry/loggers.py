"""structlog, imported when there is something to say: most commands never have.

Called by `app.telemetry` only. What it is to be configured with waits here until then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# What `structlog.configure` is to be called with; it is not known before structlog is there.
Choice = Callable[[ModuleType], dict[str, Any]]

_chosen: Choice | None = None


class Logger:
    """structlog's logger whose lines carry what is `told` here, as configured when it speaks."""

    __slots__ = ("_told",)

    def __init__(self, **told: str) -> None:
        self._told = told

    def __getattr__(self, method: str) -> Any:
        return getattr(loaded().get_logger(**self._told), method)


def choose(choice: Choice) -> None:
    """From now on structlog works so."""
    global _chosen  # noqa: PLW0603 - as there is one structlog
    _chosen = choice
    if "structlog" in sys.modules:
        loaded()


def loaded() -> ModuleType:
    """structlog, configured as was chosen last."""
    global _chosen  # noqa: PLW0603 - see `choose`
    import structlog

    if (choice := _chosen) is not None:
        structlog.configure(**choice(structlog))  # by two threads, perhaps: but by none too late
        if _chosen is choice:
            _chosen = None
    return structlog
