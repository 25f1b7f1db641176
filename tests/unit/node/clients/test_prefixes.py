"""Counts per prefix of keys."""

from quorumcache.node.clients.prefixes import PREFIXES_MAX, PrefixCounts


def test_what_is_counted_is_told_per_prefix() -> None:
    counts = PrefixCounts()
    for key, is_hit in ((b"a:1", True), (b"a:2:x", False), (b":", False), (b"none", True)):
        counts.note_get(key, is_hit)
    counts.note_set(b"a:1")
    counts.note_set(b"a")
    counts.note_delete(b"b:1")
    assert counts.lines() == (
        b"PREFIX  get 1 hit 0 set 0 del 0\r\n"
        b"PREFIX a get 2 hit 1 set 1 del 0\r\n"
        b"PREFIX b get 0 hit 0 set 0 del 1\r\n"
    )
    counts.clear()
    assert counts.lines() == b""


def test_the_number_of_prefixes_is_bounded() -> None:
    counts = PrefixCounts()
    for number in range(PREFIXES_MAX + 10):
        counts.note_set(b"%d:" % number)
    counts.note_set(b"0:")
    told = counts.lines()
    assert told.count(b"PREFIX") == PREFIXES_MAX
    assert b"PREFIX 0 get 0 hit 0 set 2 del 0\r\n" in told


def test_another_byte_may_end_a_prefix() -> None:
    counts = PrefixCounts()
    counts.delimiter = b"/"
    counts.note_set(b"a/b:c")
    counts.note_set(b"a:b")
    assert counts.lines() == b"PREFIX a get 0 hit 0 set 1 del 0\r\n"
