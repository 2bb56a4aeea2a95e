"""A mutant: one small fault, put into the code on purpose, and the tests that must notice it.

    Mutant("name", "the promise that it breaks", "app/…py", "text as it stands", "text instead", ("tests/…py::test_…",))

The text to replace stands exactly once in its file, so a mutant that no longer fits the code is told at once.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


class DoesNotFit(ValueError):
    """The code has changed: the mutant's text is not there (or there more than once), or makes no Python."""


@dataclass(frozen=True)
class Mutant:
    name: str
    breaks: str
    path: str
    before: str
    after: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file's text with the fault in it. Raises: `DoesNotFit`."""
        count = text.count(self.before)
        if count != 1:
            raise DoesNotFit(f"{self.name}: its text stands {count} times in {self.path}, not once: {self.before!r}")
        mutated = text.replace(self.before, self.after)
        try:
            ast.parse(mutated)
        except SyntaxError as error:
            raise DoesNotFit(f"{self.name}: {self.path} is no Python with it: {error}") from None
        return mutated

    def put_into(self, root: Path) -> None:
        """Changes the file in a copy of the repository. Raises: `DoesNotFit`, `OSError`."""
        file = root / self.path
        file.write_text(self.applied(file.read_text("utf-8")), "utf-8")
