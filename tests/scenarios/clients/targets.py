"""What the scripts of the frameworks share: they ask the same of one base URL after the other.

Only what a framework shows its user is printed, and nothing that differs from answer to answer
(ids, times), so that two targets can be compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MODEL = "openai/gpt-4o-mini"
QUESTION = "What is the weather in Paris?"


@dataclass(frozen=True)
class Target:
    base_url: str
    api_key: str


def ask_each(ask: Callable[[Target], dict[str, Any]]) -> None:
    """Prints what came of each target, as one line of JSON."""
    targets = [Target(**fields) for fields in json.loads(os.environ["TARGETS"])]
    print(json.dumps([ask(target) for target in targets]))
