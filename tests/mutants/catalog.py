"""All mutants there are."""

from __future__ import annotations

from tests.mutants.bounds import BOUNDS
from tests.mutants.money import MONEY
from tests.mutants.secrets import SECRETS
from tests.mutants.story import STORY

MUTANTS = (*MONEY, *STORY, *SECRETS, *BOUNDS)
