"""Which models a key may use: case-sensitive globs such as `openai/*`, the same on every system.

`*` also crosses `/`; `?` and `[…]` as in `fnmatch.fnmatchcase`. Called wherever a model's name is matched.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from fnmatch import translate


def model_allowed(model: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches the whole name; no pattern at all allows every model."""
    allowed = tuple(patterns)
    return not allowed or any(_compiled(pattern).match(model) is not None for pattern in allowed)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
