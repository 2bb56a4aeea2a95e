"""What a request's head must be beyond what the parser asks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.request_head import head_fault

LINE = b"POST /v1/responses HTTP/1.1"
HOST = (b"host", b"gateway:8000")


@pytest.mark.parametrize(
    "line", [LINE, b"GET / HTTP/1.0", b"M-SEARCH /a?b=c&d=%20 HTTP/1.1", b"GET /~!$'()*+,;=@\\ HTTP/1.1"]
)
@pytest.mark.parametrize("host", [b"gateway", b"127.0.0.1:8000", b"[::1]:8000", b"my_gateway", b""])
def test_what_clients_send_passes(line: bytes, host: bytes) -> None:
    """Names, addresses, ports; also the names that Docker gives."""
    assert head_fault(line, [(b"host", host)]) is None


@given(st.binary(max_size=60))
def test_no_other_first_line_passes(line: bytes) -> None:
    """Only what every server reads in the same way."""
    if head_fault(line, [HOST]) is None:
        assert re.fullmatch(rb"[A-Z-]+ /[\x21\x22\x24-\x7e]* HTTP/1\.[01]", line)


@given(st.lists(st.tuples(st.sampled_from([b"host", b"transfer-encoding", b"x"]), st.binary(max_size=12)), max_size=4))
def test_no_head_with_two_meanings_passes(headers: list[tuple[bytes, bytes]]) -> None:
    """One Host, and either no Transfer-Encoding or chunked alone."""
    if head_fault(LINE, headers) is None:
        assert [name for name, _ in headers].count(b"host") == 1
        assert [value.lower() for name, value in headers if name == b"transfer-encoding"] in ([], [b"chunked"])
