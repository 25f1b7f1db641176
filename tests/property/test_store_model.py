"""The store against a plain model of memcached, and against itself: replicas agree."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.state_machine import Command, Result, decode_batch, encode_batch
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_DECR,
    OP_DELETE,
    OP_EXPIRE,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_PREPEND,
    OP_REPLACE,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_TICK,
    OP_TOUCH,
)
from quorumcache.node.store.item import (
    ENDS,
    PIECES,
    cas_unique,
    item_cost,
    item_flags,
    item_value,
    value_id,
    wire_data,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    ITEM,
    NON_NUMERIC,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OK,
    SESSION_GONE,
    STORED,
    TOUCHED,
)
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.stamps import MAIN, PLANNED, SMALL
from quorumcache.node.store.store import EXPIRED, ShardStore
from tests.support.item_tables import items_of, queued

START_MS = 1_700_000_000_000

Steps = list[tuple[int, list[tuple[object, ...]]]]


@dataclass
class Entry:
    flags: int
    value: bytes
    ends_ms: int | None
    unique: int


class Model:
    """memcached as one would explain it, a dict and a clock. Slow and plain."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.flush_ms: int | None = None
        self.unique = 0

    def pass_time(self, now_ms: int) -> None:
        if self.flush_ms is not None and now_ms >= self.flush_ms:
            self.entries = {}
            self.flush_ms = None
        self.entries = {
            key: entry
            for key, entry in self.entries.items()
            if entry.ends_ms is None or entry.ends_ms > now_ms
        }

    @staticmethod
    def ends(exptime: int, now_ms: int) -> int | None:
        if exptime == 0:
            return None
        if exptime < 0:
            return now_ms
        return exptime * 1000 + (now_ms if exptime <= 2_592_000 else 0)

    def run(self, now_ms: int, op: int, key: bytes, *args: object) -> Result:
        self.pass_time(now_ms)
        result = self._run(now_ms, op, key, *args)
        self.pass_time(now_ms)
        return result

    def _run(self, now_ms: int, op: int, key: bytes, *args: object) -> Result:
        entry = self.entries.get(key)
        if op == OP_FLUSH:
            (delay,) = args
            at_ms = now_ms if delay <= 0 else self.ends(delay, now_ms)
            self.flush_ms = None
            if at_ms == now_ms:
                self.entries = {}
            elif at_ms > now_ms:
                self.flush_ms = at_ms
            return OK
        if op == OP_TICK:
            return OK
        if op in (OP_SET, OP_ADD, OP_REPLACE, OP_CAS):
            flags, value, exptime = args[:3]
            if (op == OP_ADD and entry) or (op == OP_REPLACE and not entry):
                return NOT_STORED
            if op == OP_CAS and not entry:
                return NOT_FOUND
            if op == OP_CAS and args[3] != entry.unique:
                return EXISTS
            self.unique += 1
            self.entries[key] = Entry(flags, value, self.ends(exptime, now_ms), self.unique)
            return STORED
        if op in (OP_APPEND, OP_PREPEND):
            if not entry:
                return NOT_STORED
            self.unique += 1
            value = entry.value + args[0] if op == OP_APPEND else args[0] + entry.value
            self.entries[key] = replace(entry, value=value, unique=self.unique)
            return STORED
        if not entry:
            return NOT_FOUND
        if op == OP_DELETE:
            del self.entries[key]
            return DELETED
        if op in (OP_TOUCH, OP_GAT):
            entry.ends_ms = self.ends(args[0], now_ms)
            return TOUCHED if op == OP_TOUCH else (ITEM, entry.value)
        present = c_number(entry.value)
        if present is None:
            return NON_NUMERIC
        number = present + args[0] if op == OP_INCR else max(present - args[0], 0)
        number %= 2**64
        self.unique += 1
        value = str(number).encode().ljust(len(entry.value))
        self.entries[key] = replace(entry, value=value, unique=self.unique)
        return NUMBER, number


def c_number(text: bytes) -> int | None:
    """A stored value as memcached's `safe_strtoull` reads it: what follows white space after the
    digits does not count, so `5 0` is 5.
    """
    space = b" \t\n\v\f\r"
    digits = text.lstrip(space).removeprefix(b"+")
    number = 0
    count = 0
    for byte in digits:
        if not 48 <= byte <= 57:
            break
        number = number * 10 + byte - 48
        count += 1
    ends_well = count == len(digits) or digits[count : count + 1] in [b"%c" % c for c in space]
    return number if count and ends_well and number < 2**64 else None


keys = st.sampled_from([b"a", b"b", b"c", b"d"])
exptimes = st.sampled_from([0, 0, 0, 1, 2, 60, -1, 2_592_000, 2_592_001, START_MS // 1000 + 3])
flags = st.sampled_from([0, 1, 2**32 - 1])
values = st.sampled_from(
    (
        *(b"", b"0", b"10", b"99", b"18446744073709551615", b"x", b"007", b"5 ", b" 5", b"+5"),
        *(b"5 0", b"5\tx", b"\v8\n", b"-1", b"+", b" ", b"0" * 30, b"5x", b"1\xa0"),
    )
)
deltas = st.sampled_from([0, 1, 9, 100, 2**64 - 1])

commands = st.one_of(
    st.tuples(st.sampled_from([OP_SET, OP_ADD, OP_REPLACE]), keys, flags, values, exptimes),
    st.tuples(st.just(OP_CAS), keys, flags, values, exptimes, st.integers(0, 12)),
    st.tuples(st.sampled_from([OP_APPEND, OP_PREPEND]), keys, values),
    st.tuples(st.just(OP_DELETE), keys),
    st.tuples(st.sampled_from([OP_INCR, OP_DECR]), keys, deltas),
    st.tuples(st.sampled_from([OP_TOUCH, OP_GAT]), keys, exptimes),
    st.tuples(st.just(OP_FLUSH), st.just(b""), st.sampled_from([0, -1, 1, 3, 2_592_001])),
    st.tuples(st.just(OP_TICK), st.just(b"")),
)


def flag_letters(letters: bytes) -> st.SearchStrategy[bytes]:
    """Some of them, in any order."""
    return st.lists(st.sampled_from([b"%c" % letter for letter in letters]), unique=True).map(
        b"".join
    )


uniques = st.integers(0, 12)
meta_commands = st.one_of(
    st.tuples(
        *(st.just(OP_META_GET), keys, flag_letters(b"TNREvu"), exptimes, exptimes),
        *(st.sampled_from([0, 1, 2, 60, -1]), uniques),
    ),
    st.tuples(
        *(st.just(OP_META_SET), keys, flag_letters(b"CEINc")),
        st.sampled_from([OP_SET, OP_ADD, OP_REPLACE, OP_APPEND, OP_PREPEND]),
        *(st.builds(wire_data, flags, values), exptimes, exptimes, uniques, uniques, flags),
    ),
    st.tuples(
        *(st.just(OP_META_DELETE), keys, flag_letters(b"CEITx"), uniques, uniques, exptimes, flags)
    ),
    st.tuples(
        *(st.just(OP_META_ARITHMETIC), keys, flag_letters(b"TNCEc-"), deltas, deltas),
        *(exptimes, exptimes, uniques, uniques),
    ),
)
"""What they answer is held against models elsewhere (tests/simulation/meta_model.py), and against a
real memcached."""


def steps_of(commands: st.SearchStrategy[tuple[object, ...]]) -> st.SearchStrategy[Steps]:
    """Batches of commands, and how much later each comes."""
    spans = st.sampled_from([0, 0, 1, 500, 1000, 2000, -700])
    return st.lists(st.tuples(spans, st.lists(commands, max_size=4)), max_size=25)


steps = steps_of(commands)
steps_with_meta = steps_of(st.one_of(commands, meta_commands))


def wire(command: tuple[object, ...], session: tuple[int, int, int] = (0, 0, 0)) -> Command:
    """The store's form of a model's command."""
    op, key, *args = command
    if op in (OP_SET, OP_ADD, OP_REPLACE, OP_CAS):
        flags, value, *rest = args
        args = [wire_data(flags, value), *rest]
    return (*session, op, key, *args)


def batches(steps: Steps) -> list[tuple[int, list[tuple[object, ...]]]]:
    """The steps with times instead of spans; a time may run backwards."""
    now_ms = START_MS
    timed = []
    for span_ms, commands in steps:
        now_ms += span_ms
        timed.append((now_ms, commands))
    return timed


def assert_consistent(store: ShardStore) -> None:
    """What must hold of any store at any time."""
    found = items_of(store.items)
    items = sum(item_cost(key, item) for key, item in found.items())
    assert store.bytes_used == items + store.staging.bytes_used
    large = [value_id(item) for item in items_of(store.items).values() if item[0] & PIECES]
    assert len(set(large)) == len(large)
    assert set(large) == store.values.keys()
    due = dict(store.due_expirations(1 << 60, 1 << 30))
    assert due == {key: cas_unique(item) for key, item in found.items() if item[0] & ENDS}
    assert store.items.expiring == len(due), "the index's bound hangs on it"
    sessions = store.sessions.records()
    assert store.sessions.results == sum(session.count for session in sessions)
    assert store.sessions.item_bytes == sum(session.result_bytes for session in sessions)
    assert all(cas_unique(item) <= store.cas_counter for item in items_of(store.items).values())
    queues = [queued(store.items, queue) for queue in (SMALL, MAIN, PLANNED)]
    in_queues = [key for keys in queues for key in keys]
    assert sorted(in_queues) == sorted(found), "each item is in one queue"


@settings(max_examples=500, deadline=None)
@given(steps)
def test_store_against_the_model(steps: Steps) -> None:
    store, model = ShardStore(), Model()
    latest_ms = 0
    for index, (now_ms, commands) in enumerate(batches(steps), 1):
        latest_ms = max(latest_ms, now_ms)
        results = store.apply(index, now_ms, [wire(command) for command in commands])
        model.pass_time(latest_ms)
        for command, result in zip(commands, results, strict=True):
            expected = model.run(latest_ms, *command)
            if type(result) is tuple and result[0] == ITEM:
                result = (ITEM, item_value(result[1]))
            assert result == expected, command
        for key in (b"a", b"b", b"c", b"d"):
            item = store.lookup(key, latest_ms)
            entry = model.entries.get(key)
            assert (item not in (None, EXPIRED)) == (entry is not None)
            if entry is not None:
                found = (item_flags(item), item_value(item), cas_unique(item))
                assert found == (entry.flags, entry.value, entry.unique)
        assert_consistent(store)
    for after_ms in (1, 1000, 5000, 10**9):
        later_ms = latest_ms + after_ms
        model.pass_time(later_ms)
        for key in (b"a", b"b", b"c", b"d"):
            item = store.lookup(key, later_ms)
            assert (item not in (None, EXPIRED)) == (key in model.entries)


@settings(max_examples=200, deadline=None)
@given(steps_with_meta, st.integers(0, 25))
def test_replicas_agree_also_one_that_began_with_a_snapshot(steps: Steps, at: int) -> None:
    first, second = ShardStore(), ShardStore()
    for index, (now_ms, commands) in enumerate(batches(steps), 1):
        batch = [wire(command) for command in commands]
        results = first.apply(index, now_ms, batch)
        if index == at:
            second = ShardStore()
            second.restore(b"".join(encode_view(first.view())))
            assert second.view() == first.view()
            assert_consistent(second)
        else:
            assert second.apply(index, *decode_batch(encode_batch(now_ms, batch))) == results
        assert second.digest() == first.digest()
        assert second.bytes_used == first.bytes_used


@settings(max_examples=200, deadline=None)
@given(steps_with_meta, st.data())
def test_expiring_through_the_log_changes_nothing_that_shows(
    steps: Steps, data: st.DataObject
) -> None:
    """A leader that sweeps and one that does not answer alike."""
    lazy, eager = ShardStore(), ShardStore()
    for index, (now_ms, commands) in enumerate(batches(steps), 1):
        due = eager.due_expirations(now_ms, data.draw(st.integers(0, 3)))
        eager.apply(index, now_ms, [(0, 0, 0, OP_EXPIRE, b"", tuple(due))])
        batch = [wire(command) for command in commands]
        assert eager.apply(index, now_ms, batch) == lazy.apply(index, now_ms, batch)
        assert_consistent(eager)
        for key in (b"a", b"b", b"c", b"d"):
            seen = eager.lookup(key, now_ms)
            hidden = lazy.lookup(key, now_ms)
            assert seen == hidden or (seen is None and hidden is EXPIRED)


@settings(max_examples=300, deadline=None)
@given(steps_with_meta, st.data())
def test_a_command_of_a_session_happens_once(steps: Steps, data: st.DataObject) -> None:
    """Retries, in any order and at any later time, answer the first result and change nothing."""
    once, retried = ShardStore(), ShardStore()
    for store in (once, retried):
        store.apply(1, START_MS, [(7, 0, 0, OP_SESSION_OPEN, b"")])
    answered: list[tuple[Command, Result]] = []
    sequence = 0
    for index, (now_ms, commands) in enumerate(batches(steps), 2):
        batch = []
        for command in commands:
            sequence += 1
            batch.append(wire(command, (7, sequence, 1)))
        results = once.apply(index, now_ms, batch)
        assert retried.apply(index, now_ms, batch) == results
        answered += zip(batch, results, strict=True)
        if answered:
            again = data.draw(st.lists(st.sampled_from(answered), max_size=5))
            first = [result for _, result in again]
            assert retried.apply(index, now_ms, [command for command, _ in again]) == first
        assert items_of(retried.items) == items_of(once.items)
        assert retried.cas_counter == once.cas_counter
    if answered:
        after = [(0, 0, 0, OP_SESSION_EXPIRE, b"", (7,), 0)]
        retried.apply(99, now_ms, after)
        assert retried.apply(99, now_ms, [answered[0][0]]) == [SESSION_GONE]
        assert items_of(retried.items) == items_of(once.items)
