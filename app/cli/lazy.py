"""Commands that are imported when they run: help lists them by their sentences alone.

Called by `app.cli` only. A name that cannot be imported fails when it is called, and in the test
that loads them all.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Lazy(NamedTuple):  # `Value` would be all that help loads beside typer
    """Where a command is (`module:name`, a function or a `typer.Typer`) and what it is for."""

    target: str
    sentence: str


def lazy_group(commands: Mapping[str, Lazy]) -> type[TyperGroup]:
    """A group class that knows its commands by name and imports the one that is called."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, lazy in commands.items():
                self.add_command(TyperCommand(name, help=lazy.sentence, rich_markup_mode=None))

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """The stand-in that help lists gives way to the command itself."""
            name, _, rest = super().resolve_command(ctx, args)
            return name, None if name is None else load(name, commands[name]), rest

    return LazyGroup


def load(name: str, lazy: Lazy) -> Any:
    """The command itself. Raises: `ImportError`, `AttributeError`."""
    module, _, attribute = lazy.target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)  # importing rich takes longer than most commands
    holder.callback()(_nothing)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    group = typer.main.get_command(holder)
    assert isinstance(group, TyperGroup)  # noqa: S101 - it has a callback, so it is one
    return group.commands[name]


def _nothing() -> None:
    """A callback makes a group of a single command."""
