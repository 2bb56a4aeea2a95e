"""Neither key ever crosses, nor what belongs to one hop, whatever list of headers arrives."""

from __future__ import annotations

import base64
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.headers import (
    HOP_BY_HOP,
    NEVER_FORWARDED,
    HeaderList,
    client_response_headers,
    may_be_forwarded,
    upstream_request_headers,
)
from app.core.keys import new_secret
from tests.core.header_lists import NAMES, header_lists, is_one_line, nominated_by

TEAM_KEY = new_secret().text.encode()
UPSTREAM_KEY = b"sk-test/Upstream+Key=0123456789~abcdef"
OURS = "req_01JD0000000000000000000000"


def _up(headers: HeaderList, *extra: bytes) -> HeaderList:
    return upstream_request_headers(
        headers,
        credential=b"Bearer " + UPSTREAM_KEY,
        host=b"api.imagerouter.io",
        extra=frozenset(extra),
    )


def _down(headers: HeaderList, key: bytes | None = UPSTREAM_KEY, *, replace_ratelimit: bool = False) -> HeaderList:
    return client_response_headers(
        headers,
        request_id=OURS,
        upstream_key=key,
        replace_ratelimit=replace_ratelimit,
    )[0]


def _told_id(headers: HeaderList, key: bytes | None = UPSTREAM_KEY) -> str | None:
    return client_response_headers(headers, request_id=OURS, upstream_key=key)[1]


# --- to the upstream ---------------------------------------------------------------------

OWN = [
    (b"host", b"api.imagerouter.io"),
    (b"authorization", b"Bearer " + UPSTREAM_KEY),
    (b"accept-encoding", b"identity"),
    (b"content-type", b"application/json"),
]


@given(header_lists(TEAM_KEY), st.frozensets(NAMES.map(bytes.lower), max_size=4))
@example([(b"User-Agent", b"me/1 " + TEAM_KEY.upper())], frozenset())
@example([(b"authorization", b"Bearer " + TEAM_KEY)] * 2, frozenset({b"authorization", b"cookie"}))
def test_whatever_a_client_sends_the_upstream_learns_nothing_of_who_asks(
    headers: HeaderList, extra: frozenset[bytes]
) -> None:
    """The team key is in no name or value, in no case; cookies, forwarded and hop-by-hop names are absent, also
    when the operator's list names them; what is nominated by Connection stays behind; nothing can split a line."""
    sent = _up(headers, *extra)
    assert sent[:4] == OWN
    nominated = nominated_by(headers)
    for name, value in sent[4:]:
        assert TEAM_KEY not in (name + b": " + value).lower()
        assert name not in NEVER_FORWARDED
        assert not name.startswith((b"x-forwarded-", b"proxy-"))
        assert name not in nominated
        assert name in extra or name.startswith((b"x-stainless-", b"accept", b"user-agent", b"openai-b"))
        assert name == name.lower()
        assert b"_" not in name
        assert is_one_line(name)
        assert is_one_line(value)


@given(header_lists(TEAM_KEY))
def test_what_crosses_is_what_was_sent_in_its_order(headers: HeaderList) -> None:
    """Values are not rewritten (blanks around them are none of theirs), nothing is invented, duplicates stay so."""
    lowered = iter([(name.lower(), value.strip(b" \t")) for name, value in headers])
    assert all(header in lowered for header in _up(headers)[4:])  # a subsequence


def test_the_sdks_own_headers_cross() -> None:
    """What an OpenAI SDK sends reaches the upstream, less what is about the connection and the caller."""
    headers = [
        (b"host", b"localhost:8000"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"connection", b"keep-alive"),
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"OpenAI/Python 3.50.0"),
        (b"x-stainless-retry-count", b"1"),
        (b"authorization", b"Bearer " + TEAM_KEY),
        (b"openai-beta", b"responses=v1"),
        (b"openai-organization", b"org-1"),
        (b"cookie", b"session=1"),
        (b"content-length", b"2"),
        (b"idempotency-key", b"k"),
    ]
    assert _up(headers)[4:] == [headers[3], headers[5], headers[6], headers[8]]
    assert _up(headers, b"idempotency-key", b"cookie", b"openai-organization")[-1] == (b"idempotency-key", b"k")


def test_a_client_may_keep_a_header_to_its_own_hop() -> None:
    """RFC 9110 §7.6.1: what Connection names is removed, in any case, from several such headers."""
    headers = [(b"Connection", b"close, X-Stainless-Lang"), (b"connection", b"\tUser-Agent "), (b"accept", b"*/*")]
    headers += [(b"x-stainless-lang", b"python"), (b"user-agent", b"me")]
    assert _up(headers)[4:] == [(b"accept", b"*/*")]


def test_one_bad_header_does_not_take_the_others_along() -> None:
    """Only what is malformed, or carries a key, stays behind."""
    headers = [
        (b"accept", b"a\r\nhost: b"),
        (b"user-agent", TEAM_KEY),
        (b"openai-beta", b"text/plain\tx"),
        (b"accept", b"c"),
    ]
    assert _up(headers)[4:] == headers[2:]


def test_a_word_that_only_begins_like_a_team_key_crosses() -> None:
    """What may be shown of a key is no secret."""
    assert _up([(b"user-agent", b"irg_02ff irg_tools/1.0")])[4:] == [(b"user-agent", b"irg_02ff irg_tools/1.0")]


@pytest.mark.parametrize(
    "name",
    [
        *sorted(NEVER_FORWARDED),
        b"x-forwarded-host",
        b"proxy-foo",
        b"x-irg-key",
        b"a_b",
        b"a b",
        b"a:",
        b"a\r\n",
        b"",
        b"\xc3",
    ],
)
def test_names_an_operator_cannot_let_through(name: bytes) -> None:
    """The settings refuse them with a sentence; if one came through all the same, it would not cross."""
    assert not may_be_forwarded(name)
    assert _up([(name, b"1")], name) == OWN


@pytest.mark.parametrize("name", [b"idempotency-key", b"x-title", b"http-referer", b"traceparent"])
def test_names_an_operator_can_let_through(name: bytes) -> None:
    """Only then do they cross."""
    assert may_be_forwarded(name)
    assert _up([(name, b"1")]) == OWN
    assert _up([(name.title(), b"1")], name) == [*OWN, (name, b"1")]


# --- to the client -----------------------------------------------------------------------

_ENCODED_KEYS = (
    UPSTREAM_KEY,
    UPSTREAM_KEY.upper(),
    UPSTREAM_KEY.hex().encode(),
    urllib.parse.quote(UPSTREAM_KEY.decode(), safe="").encode(),
    *(base64.b64encode(lead + UPSTREAM_KEY + b"; tail") for lead in (b"", b"a", b"ab", b"Bearer ")),
    *(base64.urlsafe_b64encode(lead + UPSTREAM_KEY) for lead in (b"", b"a", b"ab")),
)


@given(header_lists(UPSTREAM_KEY), st.booleans())
@example([(b"X-Debug", b"auth=" + UPSTREAM_KEY)], False)
@example([(UPSTREAM_KEY, b"1")], False)
@example([(b"x-request-id", UPSTREAM_KEY)], False)
@example([(b"connection", b"x-request-id, date"), (b"date", b"now"), (b"x-request-id", b"theirs")], False)
def test_whatever_an_upstream_sends_the_client_never_sees_the_key_nor_orders_to_it(
    headers: HeaderList, replace_ratelimit: bool
) -> None:
    """The key is in no name or value, in no case; hop-by-hop and nominated names, cookies, redirects and rules for
    our origin are absent; nothing can split a line; our two ids are there exactly once."""
    sent = _down(headers, replace_ratelimit=replace_ratelimit)
    for name, value in sent:
        assert UPSTREAM_KEY.lower() not in (name + b": " + value).lower()
        assert is_one_line(name)
        assert is_one_line(value)
    nominated = nominated_by(headers)
    for name, _ in sent[:-2]:
        assert name not in HOP_BY_HOP
        assert name not in nominated
        assert not name.startswith((b"set-cookie", b"access-control-", b"x-irg-", b"x-accel-"))
        assert name not in (
            b"location",
            b"refresh",
            b"strict-transport-security",
            b"www-authenticate",
            b"x-error-source",
        )
        assert b"_" not in name
        assert name == name.lower()
        assert not (replace_ratelimit and name.startswith(b"x-ratelimit-"))
    assert [name for name, _ in sent].count(b"x-request-id") == 1
    assert sent[-1] == (b"x-irg-request-id", OURS.encode())


@given(header_lists(UPSTREAM_KEY))
def test_what_comes_down_is_what_the_upstream_sent_in_its_order(headers: HeaderList) -> None:
    """Values are never rewritten, nothing is invented but our ids, duplicates stay duplicates."""
    lowered = iter([(name.lower(), value) for name, value in headers])
    assert all(header in lowered for header in _down(headers)[:-2])  # a subsequence


@given(st.binary(min_size=1, max_size=30), st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=8))
def test_no_key_ever_comes_back_raw(key: bytes, headers: HeaderList) -> None:
    """Of any length and any bytes: what the upstream said never repeats it."""
    reflected = [*headers, (b"x-echo", b"a" + key + b"b"), (b"x-request-id", key)]
    sent = _down(reflected, key)
    assert all(key not in value and key not in name for name, value in sent[:-2])
    assert sent[-2][1] in {OURS.encode(), *(value for _, value in headers)}
    assert sent[-2][1] == OURS.encode() or key not in sent[-2][1]


@pytest.mark.parametrize("form", _ENCODED_KEYS)
def test_the_key_does_not_come_back_encoded_either(form: bytes) -> None:
    """In another case, in hex, in base64 of both alphabets at every offset, or percent-encoded."""
    sent = _down([(b"x-debug", b"dump " + form + b" end"), (b"x-request-id", form), (b"date", b"now")])
    assert sent == [(b"date", b"now"), (b"x-request-id", OURS.encode()), (b"x-irg-request-id", OURS.encode())]


def test_a_header_named_after_the_key_stays_behind() -> None:
    """Names come in lower case, and so would the key."""
    assert _down([(b"X-sk-0123456789ABCDEF", b"1")], b"sk-0123456789ABCDEF")[:-2] == []


def test_end_to_end_headers_come_down_unchanged() -> None:
    """What SDKs read, what caches read, and what nobody knows."""
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"content-length", b"12"),
        (b"content-encoding", b"gzip"),
        (b"retry-after", b"3"),
        (b"retry-after-ms", b"2500"),
        (b"x-should-retry", b"true"),
        (b"x-ratelimit-remaining-requests", b"7"),
        (b"date", b"Sun, 22 Nov 2026 23:53:03 GMT"),
        (b"server", b"cloudflare"),
        (b"vary", b"Origin"),
        (b"vary", b"Accept"),
        (b"x-tomorrow", b"\xe2\x82\xac\tand more"),
    ]
    assert _down(headers)[:-2] == headers
    assert _down(headers, None)[:-2] == headers


_NOT_FOR_CLIENTS = b"""
    Set-Cookie Set-Cookie2 Access-Control-Allow-Origin Strict-Transport-Security X-Frame-Options Alt-Svc NEL Report-To
    Content-Security-Policy Content-Security-Policy-Report-Only Clear-Site-Data Location Refresh WWW-Authenticate
    X-IRG-Request-Id X-IRG-Anything X-Error-Source X-Accel-Buffering X-Accel-Redirect X-Sendfile
"""


@pytest.mark.parametrize("name", [*_NOT_FOR_CLIENTS.split(), *sorted(HOP_BY_HOP)])
def test_headers_that_would_act_on_the_gateways_origin_stay_behind(name: bytes) -> None:
    """In any case of letters."""
    for spelt in (name, name.lower(), name.upper()):
        assert _down([(spelt, b"1")])[:-2] == []


def test_our_rate_limits_replace_the_upstreams() -> None:
    """Only when the key has a limit of its own; other headers of the upstream stay."""
    headers = [(b"x-ratelimit-limit-tokens", b"5"), (b"retry-after", b"1")]
    assert _down(headers, replace_ratelimit=True)[:-2] == headers[1:]
    assert _down(headers)[:-2] == headers


def test_a_length_beside_a_transfer_coding_says_nothing() -> None:
    """RFC 9112 §6.3: the coding wins; the length, left in, would cut or stall our own answer."""
    headers = [(b"content-length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"content-type", b"text/plain")]
    assert _down(headers)[:-2] == [(b"content-type", b"text/plain")]


@pytest.mark.parametrize(
    ("value", "usable"),
    [
        (b"req_abc-123", True),
        (b"a" * 200, True),
        *((value, False) for value in (b"", b"a" * 201, b"a\r\nb", b"a\x00", b"\xe4", b"Bearer " + UPSTREAM_KEY)),
    ],
)
def test_the_upstreams_request_id_is_shown_and_kept_if_it_is_one(value: bytes, usable: bool) -> None:
    """Else the client sees ours, and the ledger keeps none; in the key's place nothing is ever kept."""
    headers = [(b"X-Request-Id", value), (b"x-request-id", b"second")]
    expected = value.decode("latin-1") if usable else None
    assert _told_id(headers) == expected
    shown = value if usable else OURS.encode()
    assert _down(headers) == [(b"x-request-id", shown), (b"x-irg-request-id", OURS.encode())]


def test_without_an_upstream_id_ours_stands_in_both_places() -> None:
    """The SDKs show `x-request-id`; it always leads to a ledger entry."""
    assert _down([]) == [(b"x-request-id", OURS.encode()), (b"x-irg-request-id", OURS.encode())]
    assert _told_id([]) is None


@pytest.mark.parametrize("value", [b"application/json ", b" application/json", b"application/json\t \t"])
def test_blanks_around_a_value_are_no_part_of_it(value: bytes) -> None:
    """A parser may leave them there; a request with them cannot be sent by every transport."""
    sent = upstream_request_headers([(b"accept", value)], credential=b"Bearer k", host=b"up.example")
    assert (b"accept", b"application/json") in sent


@pytest.mark.parametrize(
    "value", [b"application/json; charset=utf-7", b"application/x-www-form-urlencoded", b"text/plain"]
)
def test_the_upstream_reads_the_body_as_the_gateway_did(value: bytes) -> None:
    """JSON in UTF-8, whatever the client calls it: in another charset the same bytes may be another request."""
    sent = _up([(b"Content-Type", value), (b"content-type", value), (b"Content-Encoding", b"gzip")])
    assert [header for header in sent if header[0].startswith(b"content-t")] == [(b"content-type", b"application/json")]
    assert b"content-encoding" not in dict(sent)
