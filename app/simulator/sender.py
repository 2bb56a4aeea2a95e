"""The bytes of one answer on their way out: coded, cut into pieces, counted, ended as the behaviour says.

Knows no events and no money; what is sent, and when it is billed, is `respond`'s to say.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator

from app.simulator.behaviours import At, Behaviour, By, Coding
from app.simulator.coding import LABELS, encoder_of
from app.simulator.wire import Wire

_HALF_CHUNK = b"400\r\nevent: response.output_te"
_BAD_CHUNK = b"zz\r\nevent: ping\r\n"

# A body that ends so cannot have a length: it would be over with its last byte.
_CHUNKED = {By.HALF_CHUNK, By.BAD_CHUNK}


class Sender:
    """One answer. First everything is `coded`, which counts it; then it is sent."""

    def __init__(self, wire: Wire, behaviour: Behaviour, *, stream: bool, upstream_key: str) -> None:
        self._wire = wire
        self._transfer = behaviour.transfer
        self._ending = behaviour.ending
        self._stream = stream
        self._key = upstream_key
        self._encoder = encoder_of(behaviour.transfer.coding, stream=stream, bomb_bytes=behaviour.size_bytes)
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the body's bytes as they were (or will have been) sent, without HTTP's own."""
        return self._digest.hexdigest()

    def coded(self, content: bytes, *, end: bool = False) -> bytes:
        """A part of the body as it travels; `end`: the last one."""
        coded = self._encoder.feed(content) if content else b""
        return self._counted(coded + self._encoder.end() if end else coded)

    def coded_whole(self, content: bytes) -> tuple[bytes, int]:
        """A whole body, as far as it comes, and the length that its head tells."""
        coded = self._encoder.feed(content) + self._encoder.end()
        portion = self._counted(_portion(coded, self._ending.at))
        return portion, len(portion if self._ending.by is By.FRAMING else coded)

    async def head(self, status: int, length: int | None = None) -> None:
        """`length`: of the body, true or not; None: it is chunked, or the connection's end ends it."""
        transfer = self._transfer
        for interim in transfer.interim:
            await self._wire.interim(interim)
        headers = tuple((name, self._with_key(value)) for name, value in transfer.headers)
        if transfer.coding is not Coding.PLAIN:
            headers += (("content-encoding", LABELS[transfer.coding]),)
        await self._wire.head(
            status,
            transfer.content_type_of(stream=self._stream),
            length=None if length is None or self._is_chunked else length + (transfer.length_error or 0),
            headers=headers,
            close_delimited=transfer.close_delimited,
        )

    async def send(self, coded: bytes) -> None:
        for number, piece in enumerate(self._pieces(coded)):
            if number and self._transfer.pause_seconds:
                await asyncio.sleep(self._transfer.pause_seconds)
            await self._wire.more(piece)

    async def end(self, coded: bytes = b"") -> None:
        """The last bytes, and the end, whichever it is."""
        error = self._transfer.length_error or 0
        if error < 0:
            await self._end_and_more(coded[:error], coded[error:])
        elif error == 0 and self._ends_cleanly and self._transfer.piece_bytes is None:
            await self._end_and_more(coded, self._transfer.behind)
        else:
            await self.send(coded)
            await self._end_by(By.CLOSE if error else self._ending.by)

    async def _end_and_more(self, coded: bytes, behind: bytes) -> None:
        """A clean end; what stands behind it comes with it, so that a reader has it before its next request."""
        if not behind:
            await self._wire.last(coded)
            return
        async with self._wire.connection.together():
            await self._wire.last(coded)
            await self._wire.connection.write(behind)

    async def _end_by(self, by: By) -> None:
        connection = self._wire.connection
        if self._ends_cleanly and by is not By.CLOSE:
            await self._wire.last()
        elif by is By.SILENCE:
            await connection.gone()
        elif by is By.RESET:
            await connection.reset()
        else:
            await connection.write({By.HALF_CHUNK: _HALF_CHUNK, By.BAD_CHUNK: _BAD_CHUNK}.get(by, b""))
            await connection.close()

    @property
    def _ends_cleanly(self) -> bool:
        # A body that is no stream is whole without a terminal event.
        return self._ending.by is By.FRAMING or (self._ending.at is At.TERMINAL and not self._stream)

    async def no_answer(self) -> None:
        """What comes in the place of an answer."""
        if self._transfer.instead:
            await self._wire.connection.write(self._transfer.instead)
            await self._wire.connection.close()
        else:
            await self._end_by(self._ending.by)

    @property
    def _is_chunked(self) -> bool:
        ending, close_delimited = self._ending, self._transfer.close_delimited
        whole_but_open = ending.at is At.WHOLE and ending.by is not By.FRAMING
        return close_delimited or whole_but_open or ending.by in _CHUNKED

    def _counted(self, coded: bytes) -> bytes:
        self._digest.update(coded)
        return coded

    def _pieces(self, coded: bytes) -> Iterator[bytes]:
        size = self._transfer.piece_bytes or len(coded)
        return (coded[start : start + size] for start in range(0, len(coded), size)) if coded else iter(())

    def _with_key(self, value: str) -> str:
        return value.replace("{key}", self._key).replace("{key64}", base64.b64encode(self._key.encode()).decode())


def _portion(body: bytes, at: At) -> bytes:
    """As much of a body as comes; it has no terminal event, so it cannot lack that alone."""
    match at:
        case At.HEAD:
            return b""
        case At.MIDWAY | At.INSIDE_EVENT:
            return body[: len(body) // 2]
        case At.INSIDE_TERMINAL:
            return body[:-8]
    return body
