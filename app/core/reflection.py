"""Finds a secret in a stream of bytes, whatever the chunking.

The relay shows it every chunk so that an answer which contains the upstream key itself is
cut before the key's first byte. Holds back at most a proper prefix of the secret.
"""

from __future__ import annotations

import functools


class ReflectionMatcher:
    """Feed chunks in order; bytes come back as soon as they surely do not begin the secret."""

    __slots__ = ("_held", "_letters", "_secret", "_tail", "found")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._letters = _letters_of(secret)
        self._tail = b""  # longest end of what was seen that begins the secret
        self._held = 0  # how many bytes of the tail were not yet released
        self.found = False

    @property
    def held(self) -> int:
        return self._held

    def clears(self, chunk: bytes) -> bool:
        """Whether a chunk (never empty) can go out as it is and leaves nothing behind: then it need not be fed.

        One search, and no object made, where the last byte is none of the secret's, as behind most events. A chunk that
        is cut ends anywhere: there its end is looked at as well.
        """
        if self._tail or self.found or chunk.find(self._secret) >= 0:
            return False
        return chunk[-1] not in self._letters or not self._prefix_at_end(chunk)  # mostly the call is spared

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may go out now. Once `found`, only what stood before the secret, then nothing."""
        if self.found:
            return b""
        released = len(self._tail) - self._held
        window = self._tail + chunk if self._tail else chunk
        at = window.find(self._secret)
        if at >= 0:
            self.found, self._tail, self._held = True, b"", 0
            return window[released:at]
        keep = self._prefix_at_end(window)
        self._tail = window[len(window) - keep :] if keep else b""
        self._held = min(keep, len(window) - released)
        return window[released : len(window) - self._held]

    def flush(self) -> bytes:
        """Releases what is held back; it still counts as the beginning of a match."""
        held, self._held = self._held, 0
        return self._tail[len(self._tail) - held :] if held else b""

    def _prefix_at_end(self, window: bytes) -> int:
        """Length of the longest proper prefix of the secret that ends the window."""
        if window and window[-1] not in self._letters:
            return 0
        first = self._secret[:1]
        at = window.find(first, max(0, len(window) - len(self._secret) + 1))
        while at >= 0:
            if self._secret.startswith(window[at:]):
                return len(window) - at
            at = window.find(first, at + 1)
        return 0


@functools.lru_cache(maxsize=4)
def _letters_of(secret: bytes) -> frozenset[int]:
    """The bytes with which a beginning of the secret can end: the same set, of 2 KiB, for all streams."""
    return frozenset(secret[:-1])
