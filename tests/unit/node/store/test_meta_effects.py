"""What the meta commands do with a shard's state, case by case, as memcached 1.6.45 does it."""

from typing import Any

import pytest

from quorumcache.node.state_machine import Result
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_INCR,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_PREPEND,
    OP_REPLACE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_TOUCH,
)
from quorumcache.node.store.item import (
    ENDS,
    STALE,
    WON,
    cas_unique,
    expires_at_ms,
    item_flags,
    item_value,
    wire_data,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    META_COUNTED,
    META_HIT,
    META_MADE,
    META_MARKED,
    META_NUMBER_MADE,
    META_STORED,
    META_WON,
    NON_NUMERIC,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OLD_END,
    OUT_OF_MEMORY,
    STORED,
)
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import item_of

NOW_MS = 1_700_000_000_000


class Shard:
    """A store with a clock, and the meta commands by their flags."""

    def __init__(self) -> None:
        self.store = ShardStore()
        self.now_ms = NOW_MS

    def do(self, *command: Any) -> Result:
        return self.store.apply(1, self.now_ms, [(0, 0, 0, *command)])[0]

    def mg(
        self, flags: bytes, exptime: int = 0, vivify: int = 0, recache: int = 0, e: int = 0
    ) -> Result:
        return self.do(OP_META_GET, b"k", flags, exptime, vivify, recache, e)

    def ms(
        self,
        value: bytes,
        flags: bytes = b"",
        mode: int = OP_SET,
        exptime: int = 0,
        vivify: int = 0,
        compare: int = 0,
        e: int = 0,
        client_flags: int = 0,
    ) -> Result:
        data = value if mode in (OP_APPEND, OP_PREPEND) else wire_data(client_flags, value)
        args = (flags, mode, data, exptime, vivify, compare, e, client_flags)
        return self.do(OP_META_SET, b"k", *args)

    def md(
        self, flags: bytes, compare: int = 0, e: int = 0, exptime: int = 0, client_flags: int = 0
    ) -> Result:
        return self.do(OP_META_DELETE, b"k", flags, compare, e, exptime, client_flags)

    def ma(
        self,
        flags: bytes,
        delta: int = 1,
        initial: int = 0,
        vivify: int = 0,
        exptime: int = 0,
        compare: int = 0,
        e: int = 0,
    ) -> Result:
        args = (flags, delta, initial, vivify, exptime, compare, e)
        return self.do(OP_META_ARITHMETIC, b"k", *args)

    @property
    def item(self) -> bytes:
        return item_of(self.store.items, b"k")

    @property
    def unique(self) -> int:
        return cas_unique(self.item)

    @property
    def bits(self) -> int:
        return self.item[0]

    @property
    def ttl_s(self) -> int:
        ends = expires_at_ms(self.item)
        return (ends - self.now_ms) // 1000 if ends else -1


def code(result: Result) -> int:
    return result if type(result) is int else result[0]  # type: ignore[index,return-value]


def shown(result: Result) -> tuple[int, bytes]:
    """The old end, and the item."""
    assert type(result) is tuple
    carried = result[1]
    assert type(carried) is bytes
    return int.from_bytes(carried[:OLD_END], "big"), carried[OLD_END:]


# -- mg ---------------------------------------------------------------------------------------


def test_a_miss_stays_one_without_n() -> None:
    shard = Shard()
    assert shard.mg(b"Tv", 30) == shard.mg(b"R", recache=30) == NOT_FOUND
    assert not shard.store.items


def test_a_miss_with_n_makes_an_empty_item_and_one_winner() -> None:
    shard = Shard()
    result = shard.mg(b"Nv", vivify=30)
    assert code(result) == META_MADE
    assert shown(result) == (0, shard.item)
    assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"", 0, 30)
    assert shard.bits == ENDS | WON
    before = shard.item
    assert code(shard.mg(b"Nv", vivify=50)) == META_HIT
    assert shard.item == before, "N does nothing to a hit"
    assert shard.ms(b"v") == STORED
    assert shard.bits == 0


def test_n_makes_an_item_anew_once_the_empty_one_has_ended() -> None:
    shard = Shard()
    assert code(shard.mg(b"N", vivify=1)) == META_MADE
    shard.now_ms += 1000
    assert code(shard.mg(b"N", vivify=0)) == META_MADE
    assert (shard.bits, shard.ttl_s) == (WON, -1)
    assert code(shard.mg(b"N", vivify=-1)) == META_HIT


def test_n_that_ends_at_once_is_a_win_and_leaves_nothing() -> None:
    shard = Shard()
    assert code(shard.mg(b"N", vivify=-1)) == META_MADE
    assert not shard.store.items


def test_t_and_n_of_a_miss_the_later_one_counts() -> None:
    for flags, ttl_s in ((b"NT", 100), (b"TN", 30)):
        shard = Shard()
        shard.mg(flags, exptime=100, vivify=30)
        assert shard.ttl_s == ttl_s


def test_t_gives_a_hit_another_end_and_tells_the_old_one() -> None:
    shard = Shard()
    shard.ms(b"v", exptime=20)
    unique = shard.unique
    old_end, item = shown(shard.mg(b"T", 100))
    assert (old_end, expires_at_ms(item)) == (NOW_MS + 20_000, NOW_MS + 100_000)
    assert item == shard.item[:17] + b" 0 1\r\n", "no value, since none was asked for"
    assert (shard.ttl_s, shard.unique, shard.store.items.expiring) == (100, unique, 1)
    assert shown(shard.mg(b"Tv", 0)) == (NOW_MS + 100_000, shard.item)
    assert (shard.ttl_s, shard.bits, shard.store.items.expiring) == (-1, 0, 0)
    result = shard.mg(b"Tv", -1)
    assert code(result) == META_HIT
    assert item_value(shown(result)[1]) == b"v"
    assert not shard.store.items


def test_r_lets_one_win_below_its_bound() -> None:
    shard = Shard()
    shard.ms(b"v", exptime=30)
    assert code(shard.mg(b"R", recache=30)) == META_HIT
    assert shard.bits == ENDS
    shard.now_ms += 1000
    assert code(shard.mg(b"R", recache=29)) == META_HIT
    heap = len(shard.store.expiry)
    result = shard.mg(b"R", recache=30)
    assert code(result) == META_WON
    assert shown(result)[1][0] == shard.bits == ENDS | WON
    assert (shard.ttl_s, len(shard.store.expiry)) == (29, heap), "its end stays"
    assert code(shard.mg(b"R", recache=30)) == META_HIT
    shard.ms(b"w", exptime=30)
    assert code(shard.mg(b"R", recache=31)) == META_WON, "another item, another winner"


@pytest.mark.parametrize("bound", [0, -1, -5])
def test_r_without_a_bound_lets_nobody_win(bound: int) -> None:
    shard = Shard()
    shard.ms(b"v", exptime=1)
    assert code(shard.mg(b"R", recache=bound)) == META_HIT


def test_r_never_concerns_an_item_without_an_end() -> None:
    shard = Shard()
    shard.ms(b"v")
    assert code(shard.mg(b"R", recache=2_592_000)) == META_HIT
    assert shard.bits == 0


def test_r_may_be_a_unix_time() -> None:
    shard = Shard()
    shard.ms(b"v", exptime=30)
    seconds = NOW_MS // 1000
    assert code(shard.mg(b"R", recache=seconds - 5)) == META_HIT
    assert code(shard.mg(b"R", recache=seconds + 30)) == META_HIT
    assert code(shard.mg(b"R", recache=seconds + 31)) == META_WON


def test_r_looks_at_what_t_before_it_has_left() -> None:
    for flags, expected in ((b"RT", META_HIT), (b"TR", META_WON)):
        shard = Shard()
        shard.ms(b"v", exptime=100)
        assert code(shard.mg(flags, exptime=20, recache=50)) == expected


def test_e_is_the_unique_of_an_item_that_n_makes_and_of_no_other() -> None:
    shard = Shard()
    shard.mg(b"NE", e=77)
    assert shard.unique == 77
    shard.mg(b"NTE", 30, e=78)
    assert shard.unique == 77


# -- stale items ------------------------------------------------------------------------------


def test_a_stale_item_has_one_winner_until_it_is_stored() -> None:
    shard = Shard()
    shard.ms(b"v", exptime=100)
    assert shard.md(b"I") == META_MARKED
    assert (shard.bits, shard.ttl_s, item_value(shard.item)) == (ENDS | STALE, 100, b"v")
    assert code(shard.mg(b"")) == META_WON
    assert shard.bits == ENDS | STALE | WON
    assert code(shard.mg(b"")) == META_HIT
    assert shard.md(b"I") == META_MARKED
    assert code(shard.mg(b"v")) == META_WON, "marked again, the win is to be had again"
    assert shard.do(OP_SET, b"k", wire_data(0, b"w"), 0) == STORED
    assert shard.bits == 0
    assert code(shard.mg(b"")) == META_HIT


def test_only_one_of_two_winners_by_different_flags() -> None:
    shard = Shard()
    shard.ms(b"v", exptime=10)
    shard.md(b"I")
    assert code(shard.mg(b"R", recache=50)) == META_WON
    assert code(shard.mg(b"R", recache=50)) == META_HIT


def test_a_touch_and_a_count_leave_the_marks_and_every_store_clears_them() -> None:
    clearing = [
        (OP_SET, b"k", wire_data(0, b"1"), 0),
        (OP_REPLACE, b"k", wire_data(0, b"1"), 60),
        (OP_APPEND, b"k", b"1"),
        (OP_PREPEND, b"k", b"1"),
    ]
    leaving = [(OP_TOUCH, b"k", 60), (OP_TOUCH, b"k", 0), (OP_INCR, b"k", 1), (OP_INCR, b"k", 99)]
    for command in (*clearing, *leaving):
        shard = Shard()
        shard.ms(b"5", exptime=30)
        shard.md(b"I")
        shard.mg(b"")
        shard.do(*command)
        marks = shard.bits & (STALE | WON)
        assert marks == (STALE | WON if command in leaving else 0), command
    shard = Shard()
    shard.ms(b"5")
    shard.md(b"I")
    shard.ma(b"", 99)
    assert shard.bits == STALE
    shard.do(OP_CAS, b"k", wire_data(0, b"1"), 0, shard.unique)
    assert shard.bits == 0


# -- ms ---------------------------------------------------------------------------------------


def test_ms_in_its_modes() -> None:
    shard = Shard()
    assert shard.ms(b"a", mode=OP_REPLACE) == NOT_STORED
    assert shard.ms(b"a", mode=OP_APPEND) == NOT_STORED
    assert shard.ms(b"a", mode=OP_PREPEND) == NOT_STORED
    assert shard.ms(b"a", mode=OP_ADD, exptime=9, client_flags=7) == STORED
    assert shard.ms(b"b", mode=OP_ADD) == NOT_STORED
    assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"a", 7, 9)
    assert shard.ms(b"c", mode=OP_APPEND, exptime=99, client_flags=1) == STORED
    assert shard.ms(b"z", mode=OP_PREPEND, exptime=99) == STORED
    assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"zac", 7, 9)
    assert shard.ms(b"new", mode=OP_REPLACE) == STORED
    assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"new", 0, -1)
    assert shard.ms(b"s") == STORED
    assert item_value(shard.item) == b"s"


def test_ms_tells_what_it_has_stored() -> None:
    shard = Shard()
    assert shard.ms(b"ab", b"c") == (META_STORED, shard.item[:17] + b" 0 2\r\n")
    assert shard.ms(b"c", b"c", OP_APPEND) == (META_STORED, shard.item[:17] + b" 0 3\r\n")
    assert shard.unique == 2


def test_append_and_prepend_make_a_missing_item_with_n() -> None:
    for mode in (OP_APPEND, OP_PREPEND):
        shard = Shard()
        assert shard.ms(b"ab", b"N", mode, exptime=9, vivify=30, client_flags=5) == STORED
        assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"ab", 5, 30)
        assert shard.bits == ENDS
        shard.ms(b"ab", b"N", mode, vivify=90)
        assert (item_value(shard.item), shard.ttl_s) == (b"abab", 30)


def test_append_beyond_the_item_limit_stores_nothing() -> None:
    shard = Shard()
    shard.ms(b"x" * 30)
    command = (0, 0, 0, OP_META_SET, b"k", b"", OP_APPEND, b"y" * 30, 0, 0, 0, 0, 0)
    assert shard.store.apply(2, NOW_MS, [command], NOW_MS, 100) == [NOT_STORED]
    assert item_value(shard.item) == b"x" * 30


def test_ms_with_c() -> None:
    for mode in (OP_SET, OP_REPLACE):
        shard = Shard()
        assert shard.ms(b"a", b"C", mode, compare=1) == NOT_FOUND
        shard.ms(b"a")
        assert shard.ms(b"b", b"C", mode, compare=shard.unique + 1) == EXISTS
        assert shard.ms(b"b", b"C", mode, compare=0) == EXISTS
        assert item_value(shard.item) == b"a"
        assert shard.ms(b"b", b"C", mode, compare=shard.unique) == STORED
        assert item_value(shard.item) == b"b"


def test_add_and_append_with_c() -> None:
    shard = Shard()
    assert shard.ms(b"a", b"C", OP_APPEND, compare=9) == NOT_STORED
    assert shard.ms(b"a", b"C", OP_ADD, compare=9) == STORED
    assert shard.ms(b"a", b"C", OP_ADD, compare=shard.unique) == NOT_STORED
    assert shard.ms(b"b", b"C", OP_APPEND, compare=9) == EXISTS
    assert shard.ms(b"b", b"CI", OP_PREPEND, compare=0) == STORED, "0 is no comparison here"
    assert shard.ms(b"c", b"C", OP_APPEND, compare=shard.unique) == STORED
    assert item_value(shard.item) == b"bac"


def test_ms_with_i_stores_what_is_older_than_the_item_as_stale() -> None:
    shard = Shard()
    shard.ms(b"a", exptime=100)
    shard.ms(b"b", exptime=100)
    assert shard.ms(b"c", b"CI", compare=shard.unique + 1) == EXISTS
    assert shard.ms(b"c", b"CI", compare=0) == EXISTS
    assert shard.ms(b"c", b"CIc", exptime=5, compare=1, client_flags=9)[0] == META_STORED  # type: ignore[index]
    assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"c", 9, 100)
    assert (shard.bits, shard.unique) == (ENDS | STALE, 3)
    assert code(shard.mg(b"")) == META_WON
    assert shard.ms(b"d", b"CI", exptime=5, compare=1) == STORED
    assert shard.bits == ENDS | STALE | WON, "the win was handed out"
    assert shard.ms(b"e", b"CI", exptime=5, compare=shard.unique) == STORED
    assert (item_value(shard.item), shard.bits, shard.ttl_s) == (b"e", ENDS, 5)


def test_e_is_the_unique_of_what_is_stored() -> None:
    shard = Shard()
    for mode, flags in ((OP_SET, b"E"), (OP_APPEND, b"E"), (OP_REPLACE, b"E"), (OP_SET, b"CE")):
        chosen = 1000 + mode * 10 + len(flags)
        present = shard.unique if shard.store.items else 0
        assert shard.ms(b"a", flags, mode, compare=present, e=chosen) == STORED
        assert shard.unique == chosen
    assert shard.ms(b"a", b"CE", compare=5, e=77) == EXISTS
    assert shard.ms(b"a", b"CEI", compare=5, e=77) == STORED
    assert shard.unique == 77


def test_a_unique_of_0_matches_nothing() -> None:
    shard = Shard()
    shard.ms(b"a", b"E", e=0)
    assert shard.unique == 0
    assert shard.ms(b"b", b"C", compare=0) == EXISTS
    assert shard.do(OP_CAS, b"k", wire_data(0, b"b"), 0, 0) == EXISTS


def test_ms_in_the_past_is_gone_at_once() -> None:
    shard = Shard()
    shard.ms(b"a")
    assert shard.ms(b"b", exptime=-1) == STORED
    assert not shard.store.items


# -- md ---------------------------------------------------------------------------------------


def test_md() -> None:
    shard = Shard()
    assert shard.md(b"") == shard.md(b"C", 1) == shard.md(b"I") == shard.md(b"x") == NOT_FOUND
    shard.ms(b"a")
    assert shard.md(b"C", 9) == shard.md(b"C", 0) == shard.md(b"CI", 9) == EXISTS
    assert shard.bits == 0
    assert shard.md(b"CT", shard.unique, exptime=30) == DELETED, "T without I is a plain delete"
    assert not shard.store.items


def test_md_with_i_gives_a_new_unique_and_with_t_a_new_end() -> None:
    shard = Shard()
    shard.ms(b"a", client_flags=3)
    assert shard.md(b"I") == META_MARKED
    assert (shard.unique, shard.ttl_s, item_flags(shard.item)) == (2, -1, 3)
    assert shard.md(b"IT", exptime=30) == META_MARKED
    assert (shard.unique, shard.ttl_s, shard.bits) == (3, 30, ENDS | STALE)
    assert shard.md(b"IE", e=500) == META_MARKED
    assert (shard.unique, shard.ttl_s) == (500, 30)
    assert shard.md(b"IT", exptime=-1) == META_MARKED
    assert not shard.store.items


def test_md_with_x_empties_the_item() -> None:
    shard = Shard()
    shard.ms(b"abc", exptime=30, client_flags=3)
    assert shard.md(b"x") == DELETED
    assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"", 0, -1)
    assert (shard.bits, shard.unique) == (0, 2)
    assert shard.md(b"xTE", exptime=60, e=9, client_flags=4) == DELETED
    assert (item_flags(shard.item), shard.ttl_s, shard.unique) == (4, 60, 9)
    assert shard.md(b"xI") == META_MARKED
    assert (shard.bits, shard.ttl_s) == (STALE, -1)


# -- ma ---------------------------------------------------------------------------------------


def test_ma_counts() -> None:
    shard = Shard()
    assert shard.ma(b"") == shard.ma(b"T", exptime=3) == NOT_FOUND
    shard.ms(b"10", exptime=30, client_flags=2)
    assert shard.ma(b"-") == (NUMBER, 9)
    assert (item_value(shard.item), item_flags(shard.item), shard.ttl_s) == (b"9 ", 2, 30)
    assert shard.ma(b"", 91) == (NUMBER, 100)
    assert item_value(shard.item) == b"100"
    assert shard.ma(b"-", 500) == (NUMBER, 0)
    shard.ms(b"%d" % (2**64 - 1))
    assert shard.ma(b"") == (NUMBER, 0)


def test_ma_makes_a_missing_item_with_n() -> None:
    shard = Shard()
    result = shard.ma(b"N", 5, 2**64 - 1, vivify=30)
    assert code(result) == META_NUMBER_MADE
    assert shown(result) == (0, shard.item[:17] + b"18446744073709551615")
    assert (item_value(shard.item), shard.ttl_s, shard.bits) == (b"%d" % (2**64 - 1), 30, ENDS)
    for flags, ttl_s in ((b"NT", 100), (b"TN", 30)):
        shard.md(b"")
        shard.ma(flags, vivify=30, exptime=100)
        assert (item_value(shard.item), shard.ttl_s) == (b"0", ttl_s)


def test_ma_gives_the_item_a_new_end_and_unique_and_tells_both() -> None:
    shard = Shard()
    shard.ms(b"7", exptime=30)
    result = shard.ma(b"cTE", exptime=60, e=99)
    assert code(result) == META_COUNTED
    assert shown(result) == (NOW_MS + 30_000, shard.item[:17] + b"8")
    assert (shard.ttl_s, shard.unique) == (60, 99)
    assert shown(shard.ma(b"c")) == (NOW_MS + 60_000, shard.item[:17] + b"9")
    assert shard.unique == 100
    assert code(shard.ma(b"cT", exptime=-1)) == META_COUNTED
    assert not shard.store.items


def test_ma_with_c_and_with_what_is_no_number() -> None:
    shard = Shard()
    shard.ms(b"7")
    assert shard.ma(b"C", compare=5) == EXISTS
    assert shard.ma(b"C", compare=0) == (NUMBER, 8)
    assert shard.ma(b"C", compare=shard.unique) == (NUMBER, 9)
    shard.ms(b"x")
    assert shard.ma(b"") == NON_NUMERIC
    assert shard.ma(b"C", compare=77) == EXISTS
    shard.ms(b"")
    assert shard.ma(b"C", compare=77) == NON_NUMERIC


def test_what_there_is_no_memory_for_is_not_made() -> None:
    shard = Shard()
    assert shard.mg(b"nT", 5) == shard.ma(b"n") == OUT_OF_MEMORY
    shard.ms(b"1")
    assert code(shard.mg(b"n")) == META_HIT
    assert shard.ma(b"n") == (NUMBER, 2)
    assert code(shard.ms(b"2", exptime=1)) == STORED


def test_items_that_have_ended_are_absent_for_every_meta_command() -> None:
    for command in ("mg", "md", "ma"):
        shard = Shard()
        shard.ms(b"1", exptime=1)
        shard.now_ms += 1000
        assert getattr(shard, command)(b"") == NOT_FOUND
        assert not shard.store.items
    shard = Shard()
    shard.ms(b"1", exptime=1)
    shard.now_ms += 1000
    assert shard.ms(b"2", b"CI", compare=1) == NOT_FOUND


def test_a_repeated_command_has_the_first_answer_and_no_second_winner() -> None:
    shard = Shard()
    shard.store.apply(1, NOW_MS, [(7, 0, 0, OP_SESSION_OPEN, b"")])
    first = (7, 1, 1, OP_META_GET, b"k", b"N", 0, 30, 0, 0)
    second = (7, 2, 1, OP_META_GET, b"k", b"N", 0, 30, 0, 0)
    results = shard.store.apply(2, NOW_MS, [first, first, second, first])
    assert [code(result) for result in results] == [META_MADE, META_MADE, META_HIT, META_MADE]
    assert results[0] == results[1] == results[3]
    restored = ShardStore()
    restored.restore(b"".join(shard.store.encode_view(shard.store.view())))
    assert restored.apply(3, NOW_MS, [first]) == [results[0]]
    assert restored.digest() == shard.store.digest()


@pytest.mark.parametrize("was_hit", [False, True])
def test_what_counts_as_a_use(was_hit: bool) -> None:
    """As in memcached, whose `h` then shows 1: what N makes and T prolongs, unless `u` is given."""
    for flags, is_use in (
        *((b"T", True), (b"Tu", False), (b"R", True), (b"Ru", False), (b"", True), (b"u", False)),
    ):
        shard = Shard()
        shard.ms(b"1", exptime=50)
        if was_hit:
            shard.store.note_hit(b"k")
        shard.mg(flags, exptime=70, recache=100)
        assert shard.store.hint(b"k")[0] == (was_hit or is_use), flags
    for flags in (b"", b"T", b"t"):
        shard = Shard()
        shard.ms(b"1", exptime=50)
        if was_hit:
            shard.store.note_hit(b"k")
        shard.ma(flags, exptime=70)
        assert shard.store.hint(b"k")[0] == was_hit
        shard.md(b"I" + flags, exptime=90)
        assert shard.store.hint(b"k")[0] == was_hit
        shard.md(b"x")
        assert not shard.store.hint(b"k")[0]


@pytest.mark.parametrize(("flags", "is_use"), [(b"N", True), (b"Nu", False)])
def test_what_n_makes_counts_as_used(flags: bytes, is_use: bool) -> None:
    shard = Shard()
    shard.mg(flags, vivify=50)
    assert shard.store.hint(b"k")[0] == is_use
    shard.md(b"")
    shard.ma(b"N", vivify=50)
    assert not shard.store.hint(b"k")[0]
