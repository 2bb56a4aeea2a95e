"""Runs one fuzz target under atheris, guided by coverage of the code it checks, for a bounded time.

    uv run --group fuzz python -m tests.fuzz.harness tap --seconds 60

Ends with 0 if nothing was found; otherwise libFuzzer prints the input, which stands in the directory `--found` (a
temporary one without it).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

from tests.scratch import SCRATCH

# What is imported here is what coverage guides by.
with atheris.instrument_imports(include=["app.core", "app.proxy.policy", "app.proxy.json_pieces"]):
    from tests.fuzz.targets import TARGETS, Target

INPUT_BYTES_MAX = 40_000  # beyond the size from which documents are cut to their outline


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.harness", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", type=Path)
    wanted = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="irg-fuzz-", dir=SCRATCH))
    target = TARGETS[wanted.target]
    _write_seeds(target, directory)
    options = [
        sys.argv[0],
        f"-max_total_time={wanted.seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-dict={directory / 'words'}",
        f"-artifact_prefix={wanted.found or directory}/",
        "-rss_limit_mb=2048",
        "-timeout=20",
        "-print_final_stats=1",
        str(directory / "seeds"),
    ]
    atheris.Setup(options, target.check)
    atheris.Fuzz()


def _write_seeds(target: Target, directory: Path) -> None:
    (directory / "seeds").mkdir()
    for number, seed in enumerate(target.seeds):
        (directory / "seeds" / str(number)).write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    (directory / "words").write_text("".join(f'"{word}"\n' for word in escaped), "ascii")


if __name__ == "__main__":
    main()
