"""Sends one message to the service whose address a file holds, and ends: `services` runs this file as a script.

Nothing of `app` is imported here, and nothing printed: what Apprise has to say may hold
credentials. What came of it is the exit code.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path

UNREADABLE, NO_ADDRESS, NOT_TAKEN = 64, 65, 66

ADDRESS_BYTES_MAX = 4096

# A second net: who started this ends it earlier.
SECONDS_MAX = 15


def main(verb: str, path: str) -> int:
    try:
        with Path(path).open("rb") as file:
            content = file.read(ADDRESS_BYTES_MAX + 1)
        address = content.decode().strip()
    except (OSError, UnicodeDecodeError):
        return UNREADABLE
    if len(content) > ADDRESS_BYTES_MAX or not address.isprintable() or "://" not in address:
        return NO_ADDRESS
    return _send(verb, address)


def _send(verb: str, address: str) -> int:
    import apprise
    import truststore

    truststore.inject_into_ssl()  # certificates as the operating system trusts them
    service = apprise.Apprise.instantiate(address)
    if service is None:
        return NO_ADDRESS
    if verb == "check":
        return 0
    told = json.load(sys.stdin)
    taken = service.notify(
        title=told["title"],
        body=told["body"],
        notify_type=apprise.NotifyType.WARNING,
        body_format=apprise.NotifyFormat.TEXT,
    )
    return 0 if taken else NOT_TAKEN


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    signal.alarm(SECONDS_MAX)
    sys.exit(main(*sys.argv[1:]))
