"""The spool file: every acknowledged entry comes back, whatever a crash did to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.records import Settlement
from app.store.spool import RESERVED_BYTES, Spool
from tests.store.entries import free, settled, unknown

ENTRIES = [settled("req_1"), free("req_2"), unknown("req_3", "no_terminal_event"), settled("req_4", "9.5")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db.spool"


def read(file: Path) -> list[Settlement]:
    spool = Spool(file)
    try:
        return spool.entries()
    finally:
        spool.close()


def test_entries_come_back_whole_and_in_order_after_a_restart(file: Path) -> None:
    """Costs, tokens, reasons: what was put in is what comes out, in another process too."""
    spool = Spool(file)
    assert spool.empty
    spool.append(ENTRIES[:1])
    spool.append(ENTRIES[1:])
    assert not spool.empty
    assert spool.entries() == ENTRIES
    spool.close()
    assert read(file) == ENTRIES


def test_its_room_is_reserved_from_the_start(file: Path) -> None:
    """A megabyte of real blocks is there before it is needed, and after it was used; its owner alone may read it."""
    spool = Spool(file)
    spool.append(ENTRIES)
    spool.clear()
    spool.close()
    assert file.stat().st_size == RESERVED_BYTES
    assert file.stat().st_blocks * 512 >= RESERVED_BYTES
    assert file.stat().st_mode & 0o777 == 0o600


def test_cleared_means_empty_for_good(file: Path) -> None:
    """Nothing comes back after clear, and what follows is read alone."""
    spool = Spool(file)
    spool.append(ENTRIES)
    spool.clear()
    assert spool.empty
    assert spool.entries() == []
    spool.append(ENTRIES[2:3])
    spool.close()
    assert read(file) == ENTRIES[2:3]


def test_more_than_a_megabyte_is_taken_and_given_back(file: Path) -> None:
    """The reserve is no limit while the disk has room."""
    spool = Spool(file)
    many = [settled(f"req_{number}") for number in range(4000)]
    spool.append(many)
    assert file.stat().st_size > RESERVED_BYTES
    assert spool.entries() == many
    spool.clear()
    spool.close()
    assert file.stat().st_size == RESERVED_BYTES


@settings(max_examples=40)
@given(cut=st.integers(min_value=0, max_value=2000), junk=st.binary(max_size=40))
def test_a_torn_end_loses_only_what_nobody_relied_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    """Cut at any byte, with any rubbish behind: the entries before the cut are whole, and appending goes on."""
    file = tmp_path_factory.mktemp("spool") / "gateway.db.spool"
    spool = Spool(file)
    ends = []
    for entry in ENTRIES:
        spool.append([entry])
        ends.append(len(file.read_bytes().rstrip(b"\0")))
    spool.close()
    with file.open("r+b") as content:
        content.seek(min(cut, ends[-1]))
        content.write(junk + bytes(4096))
    whole = [entry for entry, end in zip(ENTRIES, ends, strict=True) if end <= min(cut, ends[-1])]
    spool = Spool(file)
    assert spool.entries()[: len(whole)] == whole
    assert len(spool.entries()) <= len(whole) + 1  # the rubbish may be exactly the byte that was cut
    spool.clear()
    spool.append(ENTRIES[:1])
    spool.close()
    assert read(file) == ENTRIES[:1]


def test_a_damaged_entry_does_not_hide_those_behind_it(file: Path) -> None:
    """A flipped byte costs one entry, not the rest of the file."""
    spool = Spool(file)
    spool.append(ENTRIES)
    spool.close()
    content = bytearray(file.read_bytes())
    content[content.index(b"req_2")] ^= 1
    file.write_bytes(content)
    assert read(file) == [ENTRIES[0], ENTRIES[2], ENTRIES[3]]


def test_text_that_is_no_unicode_is_spooled_all_the_same(file: Path) -> None:
    """A lone surrogate in an upstream's model name must not cost the settlement."""
    spool = Spool(file)
    spool.append([settled("req_1", reading={"model_answered": "\ud800", "response_id": "resp_1"})])
    (entry,) = spool.entries()
    spool.close()
    assert (entry.reading.model_answered, entry.reading.true_cost) == ("\ufffd", ENTRIES[0].reading.true_cost)


def test_what_this_version_cannot_read_is_put_aside_for_a_person(file: Path) -> None:
    """An entry of another version is kept in a file of its own, never dropped."""
    import zlib

    text = b'{"request_id":"req_9","state":"paid_in_shells"}'
    line = b"%08x %b\n" % (zlib.crc32(text), text)
    file.write_bytes(line)
    assert read(file) == []
    assert line in file.with_name(file.name + ".rejected").read_bytes()
