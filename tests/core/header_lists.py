"""Any list of headers that a client or an upstream could send, hostile ones first; shared by the tests of both ways."""

from __future__ import annotations

from hypothesis import strategies as st

from app.core.headers import HOP_BY_HOP, NEVER_FORWARDED, HeaderList

INTERESTING = (
    *sorted(HOP_BY_HOP | NEVER_FORWARDED),
    *(b"content-type", b"accept", b"user-agent", b"openai-beta", b"x-stainless-lang", b"x-stainless-retry-count"),
    *(b"x-forwarded-for", b"x-forwarded-proto", b"x-irg-request-id", b"idempotency-key", b"retry-after", b"date"),
    *(b"set-cookie", b"access-control-allow-origin", b"location", b"x-ratelimit-limit-requests", b"server"),
    *(
        b"content_type",
        b"x_stainless_lang",
        b"x-stainless-a_b",
        b"transfer_encoding",
        b"set_cookie",
        b"x-accel-redirect",
    ),
    *(b"x-stainless-\r\nhost", b"accept\x00", b"accept ", b"", b"x-stainless-:", b"content-type:"),
)
ANY_CASE = st.sampled_from([bytes.lower, bytes.upper, bytes.title])
NAMES = st.builds(
    lambda name, case: case(name),
    st.one_of(st.sampled_from(INTERESTING), st.binary(max_size=12), st.binary(max_size=6).map(b"x-stainless-".__add__)),
    ANY_CASE,
)
CONTROL = st.sampled_from([b"\r\nx: y", b"\n", b"\r", b"\x00", b"\x7f", b"\x1b[31m"])


def values_with(secret: bytes) -> st.SearchStrategy[bytes]:
    """Values, some of which carry the secret, control bytes or names of headers."""
    harmless = st.one_of(st.binary(max_size=20), st.sampled_from([b"application/json", b"keep-alive", b"", b"\xff"]))
    around = st.builds(lambda a, middle, b: a + middle + b, harmless, st.one_of(st.just(secret), CONTROL), harmless)
    naming = st.lists(NAMES, max_size=3).map(b" ,\t".join)
    return st.one_of(harmless, around, naming)


def header_lists(secret: bytes) -> st.SearchStrategy[HeaderList]:
    """Lists with duplicates, in any case, with names that are none."""
    return st.lists(st.tuples(NAMES, values_with(secret)), max_size=12)


def nominated_by(headers: HeaderList) -> set[bytes]:
    """What their Connection headers name, in lower case."""
    values = [value for name, value in headers if name.lower() == b"connection"]
    return {token.strip().lower() for value in values for token in value.split(b",")}


def is_one_line(value: bytes) -> bool:
    """Nothing in it could end a line or a string."""
    return not any(byte == 0x7F or (byte < 0x20 and byte != 0x09) for byte in value)
