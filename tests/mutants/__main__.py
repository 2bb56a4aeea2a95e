"""`uv run python -m tests.mutants`: puts every fault of the catalog into a copy of the code and runs its tests.

Prints a line for each; ends with 1 if one survives, or does not fit the code any more.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.mutants.catalog import MUTANTS
from tests.mutants.mutant import DoesNotFit, Mutant
from tests.mutants.runner import Fate, Result, tests_hold, try_mutant


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="WORDS", help="those whose name holds these words")
    parser.add_argument("--jobs", type=int, default=2, help="so many at a time (default: 2)")
    parser.add_argument("--list", action="store_true", help="names and promises, without a run")
    wanted = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if not wanted.only or wanted.only in mutant.name]
    if wanted.list or not mutants:
        print(*(f"{mutant.name:<52} {mutant.breaks}" for mutant in mutants), sep="\n")
        return int(not mutants)
    return _run(mutants, wanted.jobs)


def _run(mutants: list[Mutant], jobs: int) -> int:
    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        unspoilt = pool.submit(tests_hold, mutants)  # beside the others: it takes longest
        results = []
        for result in pool.map(_tried, mutants):
            print(result.line, flush=True)
            results.append(result)
        holds, said = unspoilt.result()
    caught = sum(result.fate is Fate.CAUGHT for result in results)
    print(f"{caught} of {len(results)} mutants caught in {time.monotonic() - began:.0f} s")
    if not holds:
        print("But without a mutant the tests fail already, so this proves nothing:\n" + said[-3000:], file=sys.stderr)
    return int(caught < len(results) or not holds)


def _tried(mutant: Mutant) -> Result:
    try:
        return try_mutant(mutant)
    except DoesNotFit as error:
        return Result(mutant, Fate.BROKEN, str(error))


if __name__ == "__main__":
    sys.exit(main())
