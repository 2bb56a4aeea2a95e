"""The upstream key never leaves whole, and nothing else is touched."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.core.reflection import ReflectionMatcher

SECRET = b"abcabdabcabc-secret"


def fed(chunks: list[bytes], flush_after: set[int] = frozenset()) -> tuple[bytes, bool]:  # type: ignore[assignment]
    matcher = ReflectionMatcher(SECRET)
    out = []
    for number, chunk in enumerate(chunks):
        out.append(matcher.feed(chunk))
        assert matcher.held < len(SECRET), "at most a proper prefix is held back"
        if number in flush_after:
            out.append(matcher.flush())
    if not matcher.found:
        out.append(matcher.flush())
    return b"".join(out), matcher.found


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(whole), *(place % (len(whole) + 1) for place in places)})
    return [whole[start:end] for start, end in pairwise(marks)]


near_misses = st.lists(
    st.one_of(st.sampled_from([SECRET[:n] for n in range(1, len(SECRET))]), st.binary(max_size=8)), max_size=12
).map(b"".join)


@given(near_misses, st.lists(st.integers(0, 500)), st.sets(st.integers(0, 20)))
def test_bytes_without_the_secret_cross_unchanged(whole: bytes, places: list[int], flushes: set[int]) -> None:
    """Whatever the chunking and the pauses, an answer without the key is the same answer."""
    if SECRET in whole:
        return
    assert fed(cut(whole, places), flushes) == (whole, False)


@given(near_misses, near_misses, st.lists(st.integers(0, 500)), st.sets(st.integers(0, 20)))
def test_the_secret_is_found_in_every_chunking(
    before: bytes, after: bytes, places: list[int], flushes: set[int]
) -> None:
    """What stood before the key goes out; of the key at most what a pause had released, never all of it."""
    whole = before + SECRET + after
    at = whole.find(SECRET)
    out, found = fed(cut(whole, places), flushes)
    assert found
    assert SECRET not in out
    assert whole.startswith(out)
    assert at <= len(out) < at + len(SECRET)
    assert flushes or len(out) == at


def test_nothing_follows_a_find() -> None:
    """After the key was found, later bytes stay inside."""
    matcher = ReflectionMatcher(SECRET)
    assert matcher.feed(b"x" + SECRET + b"y") == b"x"
    assert matcher.feed(b"more") == b""


def test_a_chunk_clears_only_without_the_secret_and_without_its_beginning() -> None:
    """Whole in it, begun at its end, or begun before: it must be fed. A letter of it at the end is no beginning."""
    for chunk, clear in ((b"x" + SECRET + b"!", False), (b"x" + SECRET[:3], False), (b"x-sec", True), (b"x!", True)):
        assert ReflectionMatcher(SECRET).clears(chunk) is clear
    begun = ReflectionMatcher(SECRET)
    begun.feed(SECRET[:5])
    assert not begun.clears(SECRET[5:] + b"!")
