"""Rules of time, flushes, refusals and noreply: histories whose verdict is known, in both
directions, and true histories of a server that shares no code with the model.
"""

from random import Random

import pytest

from tests.simulation.history import EVERY_KEY, INFO, OK, SILENT, History, Operation
from tests.simulation.linearizability import ILLEGAL, LEGAL, check_history, check_key
from tests.simulation.model import Model
from tests.simulation.reference_memcached import KEY, true_history
from tests.simulation.wall_bounds import FOREVER_MS, WallBounds

ORIGIN_MS = 1_800_000_000_000
ORIGIN = 1_800_000_000
MISS = ("miss",)
SECOND = 1_000_000_000

PERFECT = Model(walls=WallBounds([[(0, ORIGIN_MS)]]), item_limits=(1024,))
SKEWED = Model(walls=WallBounds([[(0, ORIGIN_MS - 100)], [(0, ORIGIN_MS + 100)]]))
AHEAD_AT_2S = Model(
    walls=WallBounds([[(0, ORIGIN_MS)], [(0, ORIGIN_MS), (2 * SECOND, ORIGIN_MS + 3_600_000)]])
)
BACK_AT_2S = Model(
    walls=WallBounds([[(0, ORIGIN_MS)], [(0, ORIGIN_MS), (2 * SECOND, ORIGIN_MS - 3_600_000)]])
)


def hit(value: bytes, unique: int = 0, flags: int | None = None):
    return ("hit", value, unique, flags)


def timed(*lines):
    """Operations of one key: (invoked ms, returned ms or None, "kind [exptime]", argument, result,
    more fields). All times of a history differ, and are its order.
    """
    operations = []
    for number, (invoked, returned, words, argument, result, *more) in enumerate(lines, 1):
        kind, _, exptime = words.partition(" ")
        operation = Operation(number, f"c{number}", kind, b"k", argument)
        operation.exptime = int(exptime or 0)
        operation.outcome = INFO if returned is None else OK
        operation.result = result
        operation.invoked, operation.returned = invoked, returned
        operation.invoked_ns = invoked * 1_000_000
        operation.returned_ns = None if returned is None else returned * 1_000_000
        if kind == "flush_all":
            operation.key = EVERY_KEY
        for name, value in (more[0] if more else {}).items():
            setattr(operation, name, value)
        operations.append(operation)
    return sorted(operations, key=lambda o: o.invoked)


SET_2S = (1, 10, "set 2", b"a", "STORED")

GOOD = {
    "lives until it ends": (
        PERFECT,
        [SET_2S, (1990, 2000, "get", None, hit(b"a")), (2020, 2030, "get", None, MISS)],
    ),
    "either while it may end": (
        PERFECT,
        [SET_2S, (2005, 2006, "get", None, MISS)],
    ),
    "either while it may still live": (
        PERFECT,
        [SET_2S, (2007, 2008, "get", None, hit(b"a")), (2009, 2011, "get", None, MISS)],
    ),
    "an ended item is absent for every command": (
        PERFECT,
        [
            SET_2S,
            (2020, 2021, "append", b"b", "NOT_STORED"),
            (2022, 2023, "touch 5", None, "NOT_FOUND"),
            (2024, 2025, "cas", b"c", "NOT_FOUND", {"unique": 1}),
            (2026, 2027, "delete", None, "NOT_FOUND"),
            (2028, 2029, "incr", 1, "NOT_FOUND"),
            (2030, 2031, "gat 5", None, MISS),
            (2032, 2033, "add", b"d", "STORED"),
            (5000, 5001, "get", None, hit(b"d")),
        ],
    ),
    "append, incr keep the expiry, a set without one ends it": (
        PERFECT,
        [
            (1, 2, "set 2", b"1", "STORED"),
            (3, 4, "append", b"2", "STORED"),
            (5, 6, "incr", 1, ("number", 13)),
            (2100, 2101, "get", None, MISS),
            (2102, 2103, "set 1", b"x", "STORED"),
            (2104, 2105, "set", b"y", "STORED"),
            (9000, 9001, "get", None, hit(b"y")),
        ],
    ),
    "touch and gat give a new end; the unique stays": (
        PERFECT,
        [
            SET_2S,
            (20, 21, "gets", None, hit(b"a", 7)),
            (1000, 1001, "touch 2", None, "TOUCHED"),
            (2900, 2901, "gats 3", None, hit(b"a", 7)),
            (5800, 5801, "gats 0", None, hit(b"a", 7)),
            (9000, 9001, "gets", None, hit(b"a", 7)),
        ],
    ),
    "touch takes an end away": (
        PERFECT,
        [SET_2S, (1000, 1001, "touch", None, "TOUCHED"), (9000, 9001, "get", None, hit(b"a"))],
    ),
    "negative is gone at once, and answers even so": (
        PERFECT,
        [
            (1, 2, "set -1", b"a", "STORED"),
            (3, 4, "get", None, MISS),
            (5, 6, "set", b"b", "STORED"),
            (7, 8, "gat -5", None, hit(b"b")),
            (9, 10, "touch 5", None, "NOT_FOUND"),
        ],
    ),
    "absolute": (
        PERFECT,
        [
            (1, 2, f"set {ORIGIN + 3}", b"a", "STORED"),
            (2990, 2999, "get", None, hit(b"a")),
            (3000, 3001, "get", None, MISS),
            (3002, 3003, f"set {ORIGIN + 2}", b"b", "STORED"),
            (3004, 3005, "get", None, MISS),
        ],
    ),
    "clocks of nodes differ a little": (
        SKEWED,
        [
            SET_2S,
            (1802, 1803, "get", None, MISS),
            (1804, 1805, "set 2", b"b", "STORED"),
            (3950, 3951, "get", None, hit(b"b")),
        ],
    ),
    "a clock jumps ahead: everything may end": (
        AHEAD_AT_2S,
        [
            (1, 2, "set 1000", b"a", "STORED"),
            (2001, 2002, "get", None, MISS),
            (2003, 2004, "set 100", b"b", "STORED"),
            (3000, 3001, "get", None, MISS),
        ],
    ),
    "a clock jumps back: nothing needs to end": (
        BACK_AT_2S,
        [(1, 2, "set 3", b"a", "STORED"), (99_000, 99_001, "get", None, hit(b"a"))],
    ),
    "an unknown set with an expiry": (
        PERFECT,
        [
            (1, None, "set 1", b"a", None),
            (5000, 5001, "get", None, hit(b"a")),
            (5002, 5003, "get", None, MISS),
        ],
    ),
    "an unknown touch": (
        PERFECT,
        [SET_2S, (5, None, "touch 5", None, None), (4000, 4001, "get", None, hit(b"a"))],
    ),
    "flush": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "flush_all", None, "OK"),
            (5, 6, "get", None, MISS),
            (7, 8, "set", b"b", "STORED"),
            (9, 10, "get", None, hit(b"b")),
        ],
    ),
    "a delayed flush takes what was stored after it, too": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 10, "flush_all 1", None, "OK"),
            (500, 501, "set", b"b", "STORED"),
            (900, 901, "get", None, hit(b"b")),
            (1011, 1012, "get", None, MISS),
            (1013, 1014, "set", b"c", "STORED"),
            (9000, 9001, "get", None, hit(b"c")),
        ],
    ),
    "a flush takes the place of the pending one": (
        PERFECT,
        [
            (1, 2, "flush_all 1", None, "OK"),
            (3, 4, f"flush_all {ORIGIN - 5}", None, "OK"),
            (5, 6, "set", b"a", "STORED"),
            (2000, 2001, "get", None, hit(b"a")),
            (2002, 2003, "flush_all 1", None, "OK"),
            (2004, 2005, "flush_all 3", None, "OK"),
            (4000, 4001, "get", None, hit(b"a")),
            (5100, 5101, "get", None, MISS),
        ],
    ),
    "a flush of unknown outcome may have reached this key": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, None, "flush_all", None, None),
            (5, 6, "get", None, hit(b"a")),
            (7, 8, "get", None, MISS),
        ],
    ),
    "a pending flush that a miss has not run yet": (
        BACK_AT_2S,
        [
            (1, 2, "flush_all 1", None, "OK"),
            (1500, 1501, "get", None, MISS),
            (2500, 2501, "set", b"a", "STORED"),
            (2600, 2601, "get", None, hit(b"a")),
            (9000, 9001, "get", None, MISS),
        ],
    ),
    "flags": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED", {"flags": 5}),
            (3, 4, "append", b"b", "STORED", {"flags": 9}),
            (5, 6, "get", None, hit(b"ab", 0, 5)),
            (7, 8, "replace", b"c", "STORED", {"flags": 6}),
            (9, 10, "get", None, hit(b"c", 0, 6)),
        ],
    ),
    "a set too large removes, others leave": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "append", b"x" * 1000, "TOO_LARGE"),
            (5, 6, "add", b"x" * 1000, "TOO_LARGE"),
            (7, 8, "append", b"x" * 963, "STORED"),
            (9, 10, "append", b"x", "NOT_STORED"),
            (11, 12, "set", b"x" * 965, "TOO_LARGE"),
            (13, 14, "get", None, MISS),
            (15, 16, "set", b"x" * 964, "STORED"),
            (17, 18, "set", b"x" * 964, "TOO_LARGE", {"flags": 1}),
        ],
    ),
    "numbers that are none": (
        PERFECT,
        [
            (1, 2, "set", b"-1", "STORED"),
            (3, 4, "incr", 1, "NON_NUMERIC"),
            (5, 6, "set", b"", "STORED"),
            (7, 8, "decr", 1, "NON_NUMERIC"),
            (9, 10, "set", b"18446744073709551615", "STORED"),
            (11, 12, "incr", 2, ("number", 1)),
            (13, 14, "get", None, hit(b"1".ljust(20))),
        ],
    ),
    "noreply": (
        PERFECT,
        [
            (1, 5, "set", b"a", SILENT),
            (2, 6, "get", None, hit(b"a"), {"after": 1}),
            (7, 12, "add", b"b", SILENT),
            (8, 13, "get", None, hit(b"a"), {"after": 3}),
            (14, 15, "incr", 1, SILENT),
        ],
    ),
}

BAD = {
    "lives too long": (PERFECT, [SET_2S, (2011, 2020, "get", None, hit(b"a"))]),
    "ends too early": (PERFECT, [SET_2S, (1990, 2000, "get", None, MISS)]),
    "comes back": (
        PERFECT,
        [SET_2S, (2002, 2003, "get", None, MISS), (2004, 2005, "get", None, hit(b"a"))],
    ),
    "comes back after a write found it gone": (
        PERFECT,
        [
            SET_2S,
            (2002, 2003, "append", b"b", "NOT_STORED"),
            (2004, 2005, "get", None, hit(b"a")),
        ],
    ),
    "comes back, jumps or not": (
        AHEAD_AT_2S,
        [
            (1, 2, "set 1000", b"a", "STORED"),
            (2500, 2501, "get", None, MISS),
            (2600, 2601, "get", None, hit(b"a")),
        ],
    ),
    "too early before the jump": (
        AHEAD_AT_2S,
        [(1, 2, "set 1000", b"a", "STORED"), (1000, 1001, "get", None, MISS)],
    ),
    "ends although it has no end": (
        AHEAD_AT_2S,
        [(1, 2, "set", b"a", "STORED"), (2500, 2501, "get", None, MISS)],
    ),
    "too early even for these clocks": (SKEWED, [SET_2S, (1700, 1800, "get", None, MISS)]),
    "too late even for these clocks": (SKEWED, [SET_2S, (2211, 2212, "get", None, hit(b"a"))]),
    "added beside a living item": (
        PERFECT,
        [SET_2S, (1000, 1001, "add", b"b", "STORED")],
    ),
    "touch without effect, short": (
        PERFECT,
        [SET_2S, (100, 101, "touch 5", None, "TOUCHED"), (3000, 3001, "get", None, MISS)],
    ),
    "touch without effect, long": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "touch 1", None, "TOUCHED"),
            (3000, 3001, "get", None, hit(b"a")),
        ],
    ),
    "touch changes the unique": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "gets", None, hit(b"a", 7)),
            (5, 6, "touch 9", None, "TOUCHED"),
            (7, 8, "gets", None, hit(b"a", 8)),
        ],
    ),
    "gat forgets the exptime": (
        PERFECT,
        [SET_2S, (100, 101, "gat 9", None, hit(b"a")), (3000, 3001, "get", None, MISS)],
    ),
    "a negative exptime that stores": (
        PERFECT,
        [(1, 2, "set -1", b"a", "STORED"), (3, 4, "get", None, hit(b"a"))],
    ),
    "absolute, too early": (
        PERFECT,
        [(1, 2, f"set {ORIGIN + 3}", b"a", "STORED"), (2990, 2999, "get", None, MISS)],
    ),
    "absolute, too late": (
        PERFECT,
        [(1, 2, f"set {ORIGIN + 3}", b"a", "STORED"), (3000, 3001, "get", None, hit(b"a"))],
    ),
    "append loses the expiry": (
        PERFECT,
        [
            SET_2S,
            (20, 21, "append", b"b", "STORED"),
            (2100, 2101, "get", None, hit(b"ab")),
        ],
    ),
    "an unknown set that ends before it can": (
        PERFECT,
        [
            (1, None, "set 5", b"a", None),
            (2, 3, "get", None, hit(b"a")),
            (4, 5, "get", None, MISS),
        ],
    ),
    "a flush that spares this key": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "flush_all", None, "OK"),
            (5, 6, "get", None, hit(b"a")),
        ],
    ),
    "a flush undone": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, None, "flush_all", None, None),
            (5, 6, "get", None, MISS),
            (7, 8, "get", None, hit(b"a")),
        ],
    ),
    "a delayed flush that comes at once": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "flush_all 2", None, "OK"),
            (5, 6, "get", None, MISS),
        ],
    ),
    "a delayed flush that does not come": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "flush_all 2", None, "OK"),
            (2010, 2011, "get", None, hit(b"a")),
        ],
    ),
    "a delayed flush that comes twice": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "flush_all 2", None, "OK"),
            (2010, 2011, "get", None, MISS),
            (2012, 2013, "set", b"b", "STORED"),
            (2014, 2015, "get", None, MISS),
        ],
    ),
    "a past flush that hides something": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, f"flush_all {ORIGIN - 5}", None, "OK"),
            (5, 6, "get", None, MISS),
        ],
    ),
    "a cancelled flush that comes": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "flush_all 1", None, "OK"),
            (5, 6, f"flush_all {ORIGIN - 5}", None, "OK"),
            (1500, 1501, "get", None, MISS),
        ],
    ),
    "flags of somebody else": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED", {"flags": 5}),
            (3, 4, "get", None, hit(b"a", 0, 0)),
        ],
    ),
    "a refused set that leaves the old value": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "set", b"x" * 965, "TOO_LARGE"),
            (5, 6, "get", None, hit(b"a")),
        ],
    ),
    "a refused append that removes": (
        PERFECT,
        [
            (1, 2, "set", b"a", "STORED"),
            (3, 4, "append", b"x" * 1000, "TOO_LARGE"),
            (5, 6, "get", None, MISS),
        ],
    ),
    "an append beyond the limit": (
        PERFECT,
        [
            (1, 2, "set", b"a" * 900, "STORED"),
            (3, 4, "append", b"x" * 65, "STORED"),
        ],
    ),
    "a set of what fits, refused": (PERFECT, [(1, 2, "set", b"x" * 964, "TOO_LARGE")]),
    "incr of text": (
        PERFECT,
        [(1, 2, "set", b"12a", "STORED"), (3, 4, "incr", 1, ("number", 13))],
    ),
    "noreply lost": (
        PERFECT,
        [(1, 5, "set", b"a", SILENT), (2, 6, "get", None, MISS, {"after": 1})],
    ),
    "noreply after what follows it": (
        PERFECT,
        [
            (1, 5, "set", b"a", SILENT),
            (2, 6, "set", b"b", "STORED", {"after": 1}),
            (7, 8, "get", None, hit(b"a")),
        ],
    ),
    "noreply twice": (
        PERFECT,
        [
            (1, 2, "set", b"1", "STORED"),
            (3, 5, "incr", 1, SILENT),
            (4, 6, "get", None, hit(b"3"), {"after": 2}),
        ],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name):
    model, lines = GOOD[name]
    verdict = check_key(timed(*lines), model)
    assert verdict.kind == LEGAL, verdict.describe()


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name):
    model, lines = BAD[name]
    verdict = check_key(timed(*lines), model)
    assert verdict.kind == ILLEGAL
    assert ">>" in verdict.describe()


def test_where_sessions_may_end_a_silent_write_may_be_lost():
    model = Model(keeps_silent_writes=False)
    lost = BAD["noreply lost"][1]
    assert check_key(timed(*lost), model).kind == LEGAL
    late = BAD["noreply after what follows it"][1]
    assert check_key(timed(*late), model).kind == ILLEGAL


def test_a_flush_is_in_the_history_of_every_key_used_before_or_after():
    history = History()
    history.ok(history.invoke("c", "set", b"a", b"1"), "STORED")
    history.ok(history.invoke("c", "flush_all", EVERY_KEY), "OK")
    history.ok(history.invoke("c", "get", b"b"), MISS)
    keys = history.by_key()
    assert {key: [o.kind for o in keys[key]] for key in keys} == {
        b"a": ["set", "flush_all"],
        b"b": ["flush_all", "get"],
    }
    history.ok(history.invoke("c", "get", b"a"), ("hit", b"1", 0, 0))
    verdicts = check_history(history)
    assert [verdict.kind for verdict in verdicts.values()] == [ILLEGAL, LEGAL]
    assert "key a is not" in verdicts[b"a"].describe()


def test_wall_bounds():
    walls = WallBounds([[(0, 100)], [(0, 50), (5_000_000, 1050), (9_000_000, 20)]])
    assert walls.earliest_ms(1_000_000, 2_000_000) == 51
    assert walls.latest_ms(2_000_000) == 102
    assert walls.earliest_ms(6_000_000, 7_000_000) == 106
    assert walls.latest_ms(7_000_000) == 1057
    assert walls.earliest_ms(6_000_000, 9_500_000) == 29, "after the jump back"
    assert walls.latest_ms(20_000_000) == 1059, "what was stamped stays"
    assert walls.earliest_ms(6_000_000, None) == 29
    assert walls.latest_ms(None) == FOREVER_MS


def test_true_histories_are_legal_and_lies_are_found():
    """Expiry, flushes, noreply and lost replies. A lie is a miss for what lives, or an item that
    comes back.
    """
    told = caught = 0
    for seed in range(60):
        random = Random(seed)
        history = true_history(random, 250, lost=0.02, clients=2, silent=0.1, offset_ms=ORIGIN_MS)
        operations = history.by_key()[KEY]
        verdict = check_key(operations, PERFECT)
        assert verdict.kind == LEGAL, f"seed {seed}\n{verdict.describe()}"
        reads = [o for o in operations if o.outcome == OK and o.kind in ("get", "gets")]
        hits = [o.result for o in reads if o.result != MISS]
        if not hits:
            continue
        lie = random.choice(reads)
        lie.result = random.choice(hits) if lie.result == MISS else MISS
        told += 1
        caught += check_key(operations, PERFECT).kind == ILLEGAL
    assert told > 50
    assert caught > told * 0.75


def test_a_long_history_with_many_unknown_outcomes_is_decided():
    """The bound is on configurations, not on time: a few for each operation."""
    history = true_history(Random(1), 8000, lost=0.1, silent=0.1, flushes=0.005)
    operations = history.by_key()[KEY]
    assert history.counts()["info"] > 200
    verdict = check_key(operations)
    assert verdict.kind == LEGAL, verdict.describe()
    assert verdict.explored < 100 * len(operations)
