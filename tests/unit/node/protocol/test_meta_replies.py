"""Replies to the meta commands: codes, flags in the order of the request, silence."""

import pytest

from quorumcache.node.protocol.meta_replies import (
    DONE,
    EXISTS,
    MISSING,
    NOT_STORED,
    meta_counted,
    meta_debug,
    meta_hit,
    meta_miss,
    meta_status,
    meta_stored,
    ttl_s,
)
from quorumcache.node.protocol.requests import MetaGet, MetaReply
from quorumcache.node.store.item import ENDS, STALE, WON, pack_header, wire_data

NOW_MS = 1_000_000


def asked(letters: bytes = b"", *, quiet: bool = False, base64: bool = False) -> MetaReply:
    return MetaReply(letters, b"123", b"Zm9v" if base64 else b"foo", base64, quiet)


def get(letters: bytes, *, value: bool = False, compare: int | None = None) -> MetaGet:
    return MetaGet(b"foo", value, False, None, None, None, compare, None, asked(letters))


def hit(
    request: MetaGet,
    item: bytes,
    old_ms: int = 0,
    *,
    is_new: bool = False,
    is_won: bool = False,
    was_hit: bool = False,
    idle_s: int = 0,
) -> bytes:
    return meta_hit(request, item, NOW_MS, old_ms, is_new, is_won, was_hit, idle_s)


def packed(bits: int = 0, ends_ms: int = 0, unique: int = 42, flags: int = 7) -> bytes:
    return pack_header(bits, ends_ms, unique) + wire_data(flags, b"a\r\nb")


@pytest.mark.parametrize("flags", [0, 7, 2**32 - 1])
def test_a_hit_has_its_value_only_if_asked_for(flags: int) -> None:
    assert hit(get(b""), packed(flags=flags)) == b"HD\r\n"
    assert hit(get(b"", value=True), packed(flags=flags)) == b"VA 4\r\na\r\nb\r\n"
    assert hit(get(b"f", value=True), packed(flags=flags)) == b"VA 4 f%d\r\na\r\nb\r\n" % flags


def test_a_hit_shows_its_flags_in_the_order_of_the_request() -> None:
    item = packed(ENDS, NOW_MS + 29_001)
    reply = hit(get(b"tcfshlOk"), item, NOW_MS + 29_001, was_hit=True, idle_s=5)
    assert reply == b"HD t30 c42 f7 s4 h1 l5 O123 kfoo\r\n"
    reply = hit(get(b"kOlhsfct", value=True), item, NOW_MS + 29_001)
    assert reply == b"VA 4 kfoo O123 l0 h0 s4 f7 c42 t30\r\na\r\nb\r\n"


def test_the_time_before_and_after_a_new_one() -> None:
    item = packed(ENDS, NOW_MS + 60_000)
    assert hit(get(b"tTt"), item, NOW_MS + 5000) == b"HD t5 t60\r\n"
    assert hit(get(b"tNt"), item, NOW_MS + 5000) == b"HD t5 t5\r\n", "nothing was made"
    assert hit(get(b"tNt"), item, is_new=True, is_won=True) == b"HD t-1 t60 W\r\n"


def test_seconds_are_rounded_up_and_end_at_0() -> None:
    assert ttl_s(0, NOW_MS) == -1
    assert ttl_s(NOW_MS + 1, NOW_MS) == 1
    assert ttl_s(NOW_MS + 1000, NOW_MS) == 1
    assert ttl_s(NOW_MS + 1001, NOW_MS) == 2
    assert ttl_s(NOW_MS - 5000, NOW_MS) == 0


def test_the_value_is_withheld_when_the_client_has_it() -> None:
    assert hit(get(b"c", value=True, compare=42), packed()) == b"HD c42\r\n"
    assert hit(get(b"c", value=True, compare=41), packed()) == b"VA 4 c42\r\na\r\nb\r\n"


@pytest.mark.parametrize(
    ("bits", "is_won", "marks"),
    [
        (0, False, b""),
        (WON, True, b" W"),
        (WON, False, b" Z"),
        (STALE | WON, True, b" X W"),
        (STALE | WON, False, b" Z X"),
        (STALE, False, b" X"),
    ],
)
def test_marks_follow_the_flags(bits: int, is_won: bool, marks: bytes) -> None:
    item = packed(bits)
    assert hit(get(b""), item, is_won=is_won) == b"HD" + marks + b"\r\n"
    assert hit(get(b"k"), item, is_won=is_won) == b"HD kfoo" + marks + b"\r\n"
    value = hit(get(b"", value=True), item, is_won=is_won)
    assert value == b"VA 4" + marks + b"\r\na\r\nb\r\n"


def test_a_miss_shows_what_the_request_said() -> None:
    assert meta_miss(asked()) == b"EN\r\n"
    assert meta_miss(asked(b"tkcOfshl")) == b"EN kfoo O123\r\n"
    assert meta_miss(asked(b"k", base64=True)) == b"EN kZm9v b\r\n"
    assert meta_miss(asked(b"k", quiet=True)) == b""


def test_a_status_is_silent_only_when_all_is_well() -> None:
    assert meta_status(asked(b"Ok"), DONE) == b"HD O123 kfoo\r\n"
    assert meta_status(asked(b"kO", base64=True), DONE) == b"HD kZm9v b O123\r\n"
    assert meta_status(asked(b"O", quiet=True), DONE) == b""
    for code in (MISSING, NOT_STORED, EXISTS):
        assert meta_status(asked(b"OTct", quiet=True), code) == code + b" O123\r\n"


def test_a_store_shows_unique_and_size() -> None:
    assert meta_stored(asked(b"cksO"), DONE, 9, 4) == b"HD c9 kfoo s4 O123\r\n"
    assert meta_stored(asked(b"c", quiet=True), DONE, 9, 4) == b""
    for code in (MISSING, NOT_STORED, EXISTS):
        assert meta_stored(asked(b"sc", quiet=True), code, 0, 4) == code + b" s4 c0\r\n"


def test_a_number_and_its_flags() -> None:
    assert meta_counted(asked(), False, 12, 9, NOW_MS, 0, 0, False) == b"HD\r\n"
    assert meta_counted(asked(), True, 12, 9, NOW_MS, 0, 0, False) == b"VA 2\r\n12\r\n"
    later = NOW_MS + 60_000
    reply = meta_counted(asked(b"tTtckO"), True, 7, 9, NOW_MS, later, 0, False)
    assert reply == b"VA 1 t-1 t60 c9 kfoo O123\r\n7\r\n"
    assert meta_counted(asked(b"tNt"), False, 7, 9, NOW_MS, later, 0, True) == b"HD t-1 t60\r\n"
    assert meta_counted(asked(b"Nt"), False, 7, 9, NOW_MS, later, later, False) == b"HD t60\r\n"
    for with_value in (False, True):
        assert meta_counted(asked(b"c", quiet=True), with_value, 7, 9, 0, 0, 0, False) == b""


def test_what_is_known_of_an_item() -> None:
    item = packed(ENDS, NOW_MS + 1500)
    assert (
        meta_debug(asked(quiet=True), item, NOW_MS, True, 3, 99)
        == b"ME foo exp=2 la=3 cas=42 fetch=yes cls=1 size=99\r\n"
    )
    assert (
        meta_debug(asked(base64=True), packed(), NOW_MS, False, 0, 99)
        == b"ME Zm9v exp=-1 la=0 cas=42 fetch=no cls=1 size=99\r\n"
    )
