"""The admin is told, and not drowned."""

from __future__ import annotations

from app.proxy.notices import EVERY_SECONDS, Notices


def test_each_kind_is_told_once_an_hour() -> None:
    """401, 402 and 403 have a clock each; other statuses are nobody's news."""
    notices = Notices()
    assert notices.tell(403, now=0)
    assert not notices.tell(403, now=EVERY_SECONDS - 1)
    assert notices.tell(401, now=EVERY_SECONDS - 1)
    assert notices.tell(403, now=EVERY_SECONDS)
    assert not notices.tell(400, now=EVERY_SECONDS)
