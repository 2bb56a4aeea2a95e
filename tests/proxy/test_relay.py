"""Where the last word of a tap is heard."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from app.core.records import Reading
from app.proxy.relay import finished


class Heavy:
    """A tap of a body that is long, or encoded."""

    heavy = True

    def __init__(self, *, ended: bool) -> None:
        self.ended = ended
        self.finished_in = 0

    def finish(self) -> Reading:
        self.finished_in = threading.get_ident()
        return Reading()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_large_body_is_read_beside_the_loop_unless_it_was_read(*, ended: bool) -> None:
    """The last bytes of a stream wait for it: where its end was seen, for no thread."""
    tap = Heavy(ended=ended)
    assert await finished(cast(Any, tap)) == Reading()
    assert (tap.finished_in == threading.get_ident()) is ended
