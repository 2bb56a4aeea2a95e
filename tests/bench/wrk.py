"""A second opinion: the same JSON requests by wrk, which somebody else wrote."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.bench.windows import Load, Target

SCRIPT = """
wrk.method = "POST"
wrk.path = {path}
wrk.body = {body}
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = {authorization}
"""


def by_wrk(load: Load, target: Target, directory: Path, *, seconds: float) -> str:
    """Requests per second as wrk counts them, or why it does not."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return "wrk is not installed"
    script = directory / "wrk.lua"
    texts = {"path": target.path, "body": load.body().decode(), "authorization": f"Bearer {first_key(target)}"}
    # Of printable ASCII, a text of JSON is one of Lua.
    script.write_text(SCRIPT.format(**{name: json.dumps(text) for name, text in texts.items()}))
    command = [wrk, "-t1", f"-c{load.connections}", f"-d{seconds:.0f}", "-s", str(script)]
    command.append(f"http://127.0.0.1:{target.port}")
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    failed = re.search(r"(Non-2xx or 3xx responses|Socket errors): .*", told)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    return failed[0] if failed else f"{float(rate[1]):,.0f} requests/s" if rate else told


def first_key(target: Target) -> str:
    return target.keys.read_text().split("\n", 1)[0]
