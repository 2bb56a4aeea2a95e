"""Which models a key may use: case-sensitive globs such as `openai/*`; no pattern at all allows every model."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from fnmatch import translate


def model_allowed(model: str, patterns: Iterable[str]) -> bool:
    allowed = tuple(patterns)
    return not allowed or any(_compiled(pattern).match(model) is not None for pattern in allowed)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
