"""Models that differ in how the bytes of their answers are coded and cut."""

from __future__ import annotations

from app.simulator.behaviours import Behaviour, Coding, Transfer


def _coded(coding: Coding) -> Transfer:
    return Transfer(coding=coding)


CODINGS: dict[str, Behaviour] = {
    "sim/gzip": Behaviour(summary="gzip, though identity was asked for", transfer=_coded(Coding.GZIP)),
    "sim/deflate": Behaviour(summary="deflate with zlib's wrapper", transfer=_coded(Coding.DEFLATE)),
    "sim/raw-deflate": Behaviour(
        summary="deflate without the wrapper, as some send it", transfer=_coded(Coding.RAW_DEFLATE)
    ),
    "sim/br": Behaviour(
        summary="brotli: whoever cannot read it cannot know its costs",
        transfer=_coded(Coding.BROTLI),
        unreadable=True,
    ),
    "sim/false-gzip": Behaviour(
        summary="labelled gzip, but it is not", transfer=_coded(Coding.FALSE_GZIP), unreadable=True
    ),
    "sim/gzip-bomb": Behaviour(
        summary="gzip of 100 MB of white space, then the answer",
        transfer=_coded(Coding.BOMB),
        size_bytes=100_000_000,
        unreadable=True,
    ),
}

BYTES: dict[str, Behaviour] = {
    "sim/one-byte": Behaviour(summary="every byte an HTTP chunk", words=1, transfer=Transfer(piece_bytes=1)),
    "sim/odd-chunks": Behaviour(
        summary="HTTP chunks of 37 bytes, wherever that cuts", transfer=Transfer(piece_bytes=37)
    ),
    "sim/close-delimited": Behaviour(
        summary="neither a length nor chunks: the connection's end ends it", transfer=Transfer(close_delimited=True)
    ),
    "sim/length-too-long": Behaviour(
        summary="Content-Length promises 100 bytes more than come", transfer=Transfer(length_error=100)
    ),
    "sim/length-too-short": Behaviour(
        summary="Content-Length promises 100 bytes less than come",
        transfer=Transfer(length_error=-100),
        unreadable=True,
    ),
    "sim/second-answer": Behaviour(
        summary="a whole answer that nobody asked for behind the end of this one",
        transfer=Transfer(
            behind=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 38\r\n\r\n"
            b'{"id":"resp_stray","usage":{"cost":0}}'
        ),
    ),
    "sim/garbage-behind": Behaviour(
        summary="bytes that are no HTTP behind the end of the answer", transfer=Transfer(behind=b"\x00\xffgarbage\r\n")
    ),
}
