"""The Date header's value, made once a second."""

from __future__ import annotations

import time
from email.utils import formatdate

_date_second = -1
_date = b""


def http_date() -> bytes:
    global _date_second, _date
    second = int(time.time())
    if second != _date_second:
        _date_second, _date = second, formatdate(second, usegmt=True).encode()
    return _date
