"""Looks for secrets in whatever was produced: as they are, and as base64, hex, URLs and JSON write them.

Shared by every test that ends a gateway, and by the scenario that searches a gateway's whole life.
"""

from __future__ import annotations

import base64
import functools
import json
import urllib.parse
from collections.abc import Iterable
from pathlib import Path


@functools.lru_cache(maxsize=256)
def forms(secret: str) -> tuple[bytes, ...]:
    """Every way in which a secret could stand in a text, of those that somebody may write by accident."""
    raw = secret.encode()
    quoted = urllib.parse.quote(secret, safe="")
    found = {raw, raw[::-1], quoted.encode(), quoted.lower().encode(), urllib.parse.quote_plus(secret).encode()}
    found |= {raw.hex().encode(), raw.hex().upper().encode(), raw.hex(" ").encode(), raw.hex(":").encode()}
    found |= {
        json.dumps(secret)[1:-1].encode(),
        json.dumps(json.dumps(secret))[3:-3].encode(),
        repr(secret)[1:-1].encode(),
    }
    found |= {"".join(f"%{byte:02X}" for byte in raw).encode(), "".join(f"\\u{byte:04x}" for byte in raw).encode()}
    found |= {secret.encode("utf-16-le"), secret.encode("utf-16-be")}
    for shift, known in ((0, 0), (1, 2), (2, 3)):  # the characters that no neighbour decides
        text = base64.b64encode(bytes(shift) + raw)[known : (shift + len(raw)) * 8 // 6]
        found |= {text, text.replace(b"+", b"-").replace(b"/", b"_")}
    return tuple(sorted(found))


def found_in(content: bytes, secrets: Iterable[str]) -> list[str]:
    """Which of the secrets stand in it, in any form; only their last characters are told."""
    return [f"…{secret[-6:]}" for secret in secrets if any(form in content for form in forms(secret))]


def found_in_files(paths: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """File by file."""
    wanted = list(secrets)
    return [
        f"{path.name}: {what}"
        for path in sorted(paths)
        if path.is_file()
        for what in found_in(path.read_bytes().rstrip(b"\0"), wanted)  # some files are mostly room
    ]
