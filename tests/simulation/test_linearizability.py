"""The checker is right about histories whose verdict is known, and agrees with trying everything.

A checker that says ok too often would hide bugs of the product for ever, so most of this file is
bad histories.
"""

from itertools import pairwise, permutations, product
from random import Random

import pytest

from tests.simulation.history import INFO, OK, History, Operation
from tests.simulation.linearizability import ILLEGAL, LEGAL, UNKNOWN, check_history, check_key
from tests.simulation.model import INITIAL, PLAIN

MISS = ("miss",)


def hit(value: bytes, unique: int = 0):
    return ("hit", value, unique)


def history_of(*lines):
    """Operations of key k: (invoked, returned or None, kind, argument, result[, unique])."""
    operations = []
    for number, (invoked, returned, kind, argument, result, *rest) in enumerate(lines, 1):
        operations.append(
            Operation(
                number,
                f"c{number}",
                kind,
                b"k",
                argument,
                rest[0] if rest else 0,
                outcome=INFO if returned is None else OK,
                result=result,
                invoked=invoked,
                returned=returned,
                after=rest[1] if len(rest) > 1 else 0,
            )
        )
    return operations


GOOD = {
    "sequential": [
        (1, 2, "get", None, MISS),
        (3, 4, "set", b"a", "STORED"),
        (5, 6, "get", None, hit(b"a")),
        (7, 8, "append", b"b", "STORED"),
        (9, 10, "prepend", b"z", "STORED"),
        (11, 12, "get", None, hit(b"zab")),
        (13, 14, "delete", None, "DELETED"),
        (15, 16, "delete", None, "NOT_FOUND"),
        (17, 18, "replace", b"x", "NOT_STORED"),
        (19, 20, "append", b"x", "NOT_STORED"),
    ],
    "concurrent reads see either value": [
        (1, 2, "set", b"a", "STORED"),
        (3, 10, "set", b"b", "STORED"),
        (4, 5, "get", None, hit(b"a")),
        (6, 7, "get", None, hit(b"b")),
        (8, 9, "get", None, hit(b"b")),
    ],
    "an unknown write takes effect much later": [
        (1, 2, "set", b"a", "STORED"),
        (3, None, "set", b"b", None),
        (4, 5, "get", None, hit(b"a")),
        (6, 7, "set", b"c", "STORED"),
        (8, 9, "get", None, hit(b"c")),
        (10, 11, "get", None, hit(b"b")),
    ],
    "an unknown write that never happens": [
        (1, None, "set", b"b", None),
        (2, 3, "get", None, MISS),
        (4, 5, "add", b"c", "STORED"),
    ],
    "an unknown delete explains a miss": [
        (1, 2, "set", b"a", "STORED"),
        (3, None, "delete", None, None),
        (4, 5, "get", None, hit(b"a")),
        (6, 7, "get", None, MISS),
    ],
    "an unknown read says nothing": [
        (1, None, "get", None, None),
        (2, 3, "get", None, MISS),
    ],
    "counting": [
        (1, 2, "set", b"9", "STORED"),
        (3, 8, "incr", 1, ("number", 11)),
        (4, 9, "incr", 1, ("number", 10)),
        (10, 11, "decr", 5, ("number", 6)),
        (12, 13, "get", None, hit(b"6 ")),
        (14, 15, "decr", 100, ("number", 0)),
        (16, 17, "set", b"18446744073709551615", "STORED"),
        (18, 19, "incr", 2, ("number", 1)),
        (20, 21, "set", b"pear", "STORED"),
        (22, 23, "incr", 1, "NON_NUMERIC"),
        (24, 25, "delete", None, "DELETED"),
        (26, 27, "incr", 1, "NOT_FOUND"),
    ],
    "an unknown incr counted": [
        (1, 2, "set", b"1", "STORED"),
        (3, None, "incr", 1, None),
        (4, 5, "incr", 1, ("number", 3)),
    ],
    "cas": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "gets", None, hit(b"a", 7)),
        (5, 6, "cas", b"b", "STORED", 7),
        (7, 8, "cas", b"c", "EXISTS", 7),
        (9, 10, "gets", None, hit(b"b", 9)),
        (11, 12, "gets", None, hit(b"b", 9)),
        (13, 14, "delete", None, "DELETED"),
        (15, 16, "cas", b"c", "NOT_FOUND", 9),
    ],
    "an unknown cas took effect": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "gets", None, hit(b"a", 7)),
        (5, None, "cas", b"b", None, 7),
        (6, 7, "gets", None, hit(b"b", 8)),
        (8, 9, "cas", b"c", "EXISTS", 7),
    ],
}

BAD = {
    "reads under way that show two uniques of one value": [
        (1, 2, "set", b"a", "STORED"),
        (3, 10, "gets", None, hit(b"a", 5)),
        (4, 9, "gets", None, hit(b"a", 6)),
        (5, 6, "get", None, hit(b"a")),
    ],
    "pipelined requests out of order": [
        (1, 10, "set", b"a", "STORED"),
        (2, 11, "get", None, MISS, 0, 1),
    ],
    "stale read": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "set", b"b", "STORED"),
        (5, 6, "get", None, hit(b"a")),
    ],
    "stale read by overlap": [
        (1, 2, "set", b"a", "STORED"),
        (3, 10, "set", b"b", "STORED"),
        (4, 5, "get", None, hit(b"b")),
        (6, 7, "get", None, hit(b"a")),
    ],
    "lost write": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "get", None, MISS),
    ],
    "read of what nobody wrote": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "get", None, hit(b"x")),
    ],
    "read from the future": [
        (1, 2, "get", None, hit(b"a")),
        (3, 4, "set", b"a", "STORED"),
    ],
    "double incr": [
        (1, 2, "set", b"1", "STORED"),
        (3, 4, "incr", 1, ("number", 3)),
        (5, 6, "get", None, hit(b"3")),
    ],
    "two increments with one answer": [
        (1, 2, "set", b"1", "STORED"),
        (3, 6, "incr", 1, ("number", 2)),
        (4, 5, "incr", 1, ("number", 2)),
    ],
    "an unknown incr counted twice": [
        (1, 2, "set", b"1", "STORED"),
        (3, None, "incr", 1, None),
        (4, 5, "get", None, hit(b"3")),
    ],
    "an unknown write undone": [
        (1, 2, "set", b"a", "STORED"),
        (3, None, "set", b"b", None),
        (4, 5, "get", None, hit(b"b")),
        (6, 7, "get", None, hit(b"a")),
    ],
    "an unknown write before it was asked for": [
        (1, 2, "get", None, hit(b"b")),
        (3, None, "set", b"b", None),
    ],
    "two cas with one unique": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "gets", None, hit(b"a", 7)),
        (5, 8, "cas", b"b", "STORED", 7),
        (6, 7, "cas", b"c", "STORED", 7),
    ],
    "a cas over a change in between": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "gets", None, hit(b"a", 7)),
        (5, 6, "set", b"b", "STORED"),
        (7, 8, "cas", b"c", "STORED", 7),
    ],
    "a unique that comes back": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "gets", None, hit(b"a", 7)),
        (5, 6, "set", b"a", "STORED"),
        (7, 8, "gets", None, hit(b"a", 7)),
    ],
    "a unique that changes by itself": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "gets", None, hit(b"a", 7)),
        (5, 6, "gets", None, hit(b"a", 8)),
    ],
    "two adds both stored": [
        (1, 4, "add", b"a", "STORED"),
        (2, 3, "add", b"b", "STORED"),
    ],
    "a delete that was undone": [
        (1, 2, "set", b"a", "STORED"),
        (3, 4, "delete", None, "DELETED"),
        (5, 6, "get", None, hit(b"a")),
    ],
    "half an append": [
        (1, 2, "set", b"ab", "STORED"),
        (3, 4, "append", b"cd", "STORED"),
        (5, 6, "get", None, hit(b"abc")),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name):
    verdict = check_key(history_of(*GOOD[name]))
    assert verdict.kind == LEGAL, verdict.describe()


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name):
    verdict = check_key(history_of(*BAD[name]))
    assert verdict.kind == ILLEGAL
    assert ">>" in verdict.describe()


def test_the_window_holds_what_matters_and_little_else():
    """A long good history, many reads around, one stale read: the report is short."""
    lines = []
    position = 0
    for number in range(200):
        lines.append((position + 1, position + 2, "set", b"%d" % number, "STORED"))
        lines.append((position + 3, position + 4, "get", None, hit(b"%d" % number)))
        position += 4
    lines.append((position + 1, position + 20, "set", b"new", "STORED"))
    for i in range(5):
        lines.append((position + 2 + i, position + 8 + i, "get", None, hit(b"new")))
    lines.append((position + 14, position + 15, "get", None, hit(b"199")))
    verdict = check_key(history_of(*lines))
    assert verdict.kind == ILLEGAL
    assert verdict.culprit.result == hit(b"199")
    assert len(verdict.window) == 3  # the set, one read of the new value, the stale read
    assert verdict.states[0].value == b"199"


def test_many_unknown_writes_do_not_explode():
    """Forty lost replies around ordinary traffic are decided within few configurations."""
    random, lines, position = Random(1), [], 0
    for number in range(120):
        position += 1
        if number % 3 == 0:
            lines.append((position, None, "set", b"u%d" % number, None))
        else:
            lines.append((position, position + 1, "set", b"%d" % number, "STORED"))
            value = b"u%d" % (number - number % 3) if random.random() < 0.3 else b"%d" % number
            lines.append((position + 2, position + 3, "get", None, hit(value)))
            if value.startswith(b"u") and number % 3 == 2:
                lines[-1] = (position + 2, position + 3, "get", None, hit(b"%d" % number))
            position += 3
    verdict = check_key(history_of(*lines))
    assert verdict.kind == LEGAL, verdict.describe()
    assert verdict.explored < 20_000


@pytest.mark.parametrize("lie", [False, True])
def test_long_pipelines_of_reads_do_not_explode(lie):
    """Four clients ask a hundred times each, and read the answers after others have written."""
    lines, position, asked = [(1, 2, "set", b"0", "STORED")], 3, []
    for number in range(100):
        for client in range(4):
            asked.append((client, number, position))
            position += 1
    writes = [(position + 2 * n, position + 2 * n + 1, n + 1) for n in range(20)]
    lines += [(begin, end, "set", b"%d" % value, "STORED") for begin, end, value in writes]
    position += 2 * len(writes)
    numbers = {}
    for client, number, begin in asked:
        value = min(20, number // (client + 2))
        if lie and (client, number) == (1, 60):
            value -= 2
        numbers[client, number] = len(lines) + 1
        before = numbers.get((client, number - 1), 0)
        shown = hit(b"%d" % value)
        lines.append((begin, position + len(lines), "get", None, shown, 0, before))
    verdict = check_key(history_of(*lines))
    assert verdict.kind == (ILLEGAL if lie else LEGAL), verdict.describe()
    assert verdict.explored < 20_000


@pytest.mark.parametrize("lie", [False, True])
def test_many_unknown_increments_of_a_counter_do_not_explode(lie):
    """Which of those that ask for the same took effect is not asked; only how many by when."""
    lines = [(1, 2, "set", b"0", "STORED")]
    value, position = 0, 3
    for number in range(24):
        lines.append((position, None, "incr", 2, None))
        if number % 2:
            value += 2
            lines.append((position + 1, position + 2, "incr", 1, ("number", value + 1)))
            value += 1
        position += 3
    last = value + 2 * 12  # All that is left of the unknown ones, and one step more for the lie.
    value_seen = b"%d" % (last + 1 if lie else last)
    lines.append((position, position + 1, "get", None, hit(value_seen)))
    verdict = check_key(history_of(*lines))
    assert verdict.kind == (ILLEGAL if lie else LEGAL), verdict.describe()
    assert verdict.explored < 20_000


def test_a_search_beyond_its_bound_is_unknown_not_ok():
    lines = [(i, 100 + i, "append", b"%d" % i, "STORED") for i in range(2, 22)]
    lines.append((1, 99, "set", b"", "STORED"))
    lines.append((200, 201, "get", None, hit(b"nonsense")))
    verdict = check_key(history_of(*lines), configurations_max=1000)
    assert verdict.kind == UNKNOWN


def test_histories_are_checked_key_by_key_and_failures_left_out():
    history = History()
    for key, read in ((b"a", hit(b"1")), (b"b", hit(b"2"))):
        operation = history.invoke("c", "set", key, b"1")
        history.ok(operation, "STORED")
        refused = history.invoke("c", "set", key, b"2")
        history.fail(refused)
        history.ok(history.invoke("c", "get", key), read)
    verdicts = check_history(history)
    assert [verdict.kind for verdict in verdicts.values()] == [LEGAL, ILLEGAL]
    assert history.counts() == {"ok": 4, "fail": 2, "info": 0}


# -- against trying everything ---------------------------------------------------------------------


def brute_force(operations) -> bool:
    """Every choice of unknown operations, every order: is one legal and true to real time?"""
    known = [o for o in operations if o.outcome == OK]
    unknown = [o for o in operations if o.outcome == INFO and not o.is_read]
    for chosen in product((False, True), repeat=len(unknown)):
        taken = known + [o for o, take in zip(unknown, chosen, strict=True) if take]
        for order in permutations(taken):
            if respects_real_time(order) and runs(order):
                return True
    return False


def respects_real_time(order) -> bool:
    latest_invoke = 0
    seen, all_numbers = set(), {operation.number for operation in order}
    for operation in order:
        if operation.after in all_numbers and operation.after not in seen:
            return False
        seen.add(operation.number)
        if operation.returned is not None and operation.returned < latest_invoke:
            return False
        latest_invoke = max(latest_invoke, operation.invoked)
    return True


def runs(order) -> bool:
    states = {INITIAL}
    for place, operation in enumerate(order):
        returns = [o.returned_ns for o in order[place:] if o.returned_ns is not None]
        until_ns = min(returns, default=None)
        states = {
            after for state in states for after in PLAIN.successors(state, operation, until_ns)
        }
    return bool(states)


def random_history(random: Random, count: int):
    """A few overlapping operations on one key with plausible results, true or not."""
    moments = list(range(1, 2 * count + 1))
    step_ns = random.choice((1, 500, 1500)) * 1_000_000
    random.shuffle(moments)
    operations = []
    for number in range(count):
        invoked, returned = sorted(moments[2 * number : 2 * number + 2])
        kind = random.choice(
            [
                "set",
                "add",
                "replace",
                "append",
                "prepend",
                "cas",
                "delete",
                "incr",
                "decr",
                "get",
                "gets",
                "get",
                "gets",
                "touch",
                "flush_all",
            ]
        )
        value, unique = random.choice((b"1", b"2")), random.choice((5, 6))
        argument = None
        if kind in ("set", "add", "replace", "append", "prepend", "cas"):
            argument = value
            result = random.choice(("STORED", "STORED", "NOT_STORED"))
            if kind == "set":
                result = "STORED"
            if kind == "cas":
                result = random.choice(("STORED", "EXISTS", "NOT_FOUND"))
        elif kind == "delete":
            result = random.choice(("DELETED", "NOT_FOUND"))
        elif kind == "touch":
            result = random.choice(("TOUCHED", "TOUCHED", "NOT_FOUND"))
        elif kind == "flush_all":
            result = "OK"
        elif kind in ("incr", "decr"):
            argument = 1
            result = random.choice((("number", 2), ("number", 1), ("number", 0), "NOT_FOUND"))
        else:
            seen = random.choice((b"1", b"2", b"12", b"11"))
            result = random.choice((hit(seen, unique if kind == "gets" else 0), MISS))
        operation = Operation(
            number + 1, "c", kind, b"k", argument, unique if kind == "cas" else 0, OK, result
        )
        operation.invoked, operation.returned = invoked, returned
        operation.invoked_ns, operation.returned_ns = invoked * step_ns, returned * step_ns
        if kind in ("set", "add", "cas", "touch", "flush_all"):
            operation.exptime = random.choice((0, 0, 1, -1))
        if random.random() < 0.2:
            operation.outcome, operation.returned, operation.result = INFO, None, None
            operation.returned_ns = None
        operations.append(operation)
    operations.sort(key=lambda o: o.invoked)
    known = [o for o in operations if o.outcome == OK]
    if random.random() < 0.5:
        for first, second in pairwise(known):
            if first.returned < second.returned:
                second.after = first.number
                break
    return operations


def test_agrees_with_brute_force_on_small_random_histories():
    random = Random(20)
    verdicts = {LEGAL: 0, ILLEGAL: 0}
    for _ in range(4000):
        operations = random_history(random, random.choice((2, 3, 3, 4, 4, 5)))
        verdict = check_key(operations)
        assert (verdict.kind == LEGAL) == brute_force(operations), "\n".join(
            o.describe() for o in operations
        )
        verdicts[verdict.kind] += 1
    assert min(verdicts.values()) > 400


class PlainMemcached:
    """The same rules once more, as a server would run them; shares no code with the model."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.unique = 0
        self.counter = 0

    def write(self, value: bytes | None) -> None:
        self.value = value
        self.counter += 1
        self.unique = self.counter

    def run(self, kind: str, argument, unique: int):
        if kind in ("get", "gets"):
            if self.value is None:
                return MISS
            return hit(self.value, self.unique if kind == "gets" else 0)
        if kind == "delete":
            if self.value is None:
                return "NOT_FOUND"
            self.write(None)
            return "DELETED"
        if kind in ("incr", "decr"):
            if self.value is None:
                return "NOT_FOUND"
            if not self.value.strip().isdigit():
                return "NON_NUMERIC"
            number = int(self.value) + (argument if kind == "incr" else -argument)
            number = max(number, 0) & 0xFFFF_FFFF_FFFF_FFFF
            self.write(b"%-*d" % (len(self.value), number))
            return ("number", number)
        if kind == "cas":
            if self.value is None:
                return "NOT_FOUND"
            if unique != self.unique:
                return "EXISTS"
        elif (kind == "add") == (self.value is not None) and kind != "set":
            return "NOT_STORED"
        old = self.value or b""
        self.write({"append": old + argument, "prepend": argument + old}.get(kind, argument))
        return "STORED"


def test_true_histories_are_legal_and_one_lie_is_mostly_found():
    """Run a real register with overlapping clients and lost replies; then change one answer."""
    caught = 0
    for seed in range(150):
        random = Random(seed)
        server, history, last_unique = PlainMemcached(), History(), 1
        waiting = []  # (operation, result or None, will be lost)
        for step in range(120):
            if len(waiting) < 5 and random.random() < 0.5:
                kind = random.choice(
                    [
                        "set",
                        "set",
                        "add",
                        "replace",
                        "append",
                        "cas",
                        "cas",
                        "delete",
                        "incr",
                        "decr",
                        "get",
                        "gets",
                        "gets",
                    ]
                )
                argument = b"%d" % step if kind not in ("incr", "decr", "get", "gets") else None
                if kind in ("incr", "decr"):
                    argument = random.randrange(1, 20)
                argument = None if kind == "delete" else argument
                unique = last_unique if kind == "cas" else 0
                operation = history.invoke("c", kind, b"k", argument, unique=unique)
                waiting.append([operation, None, random.random() < 0.1])
            elif waiting:
                entry = random.choice(waiting)
                operation, result, lost = entry
                if result is None:
                    result = server.run(operation.kind, operation.argument, operation.unique)
                    entry[1] = result
                    if result[0] == "hit" and result[2]:
                        last_unique = result[2]
                else:
                    waiting.remove(entry)
                    if not lost:
                        history.ok(operation, result)
        operations = history.by_key()[b"k"]
        verdict = check_key(operations)
        assert verdict.kind == LEGAL, f"seed {seed}\n{verdict.describe()}"
        reads = [o for o in operations if o.outcome == OK and o.result[0] == "hit"]
        if reads:
            lie = random.choice(reads)
            lie.result = ("hit", lie.result[1] + b"9", lie.result[2])
            caught += check_key(operations).kind == ILLEGAL
    assert caught > 130
