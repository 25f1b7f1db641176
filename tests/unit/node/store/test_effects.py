"""What single commands do. The whole is in tests/property/test_store_model.py."""

import pytest

from quorumcache.node.errors import CommandError
from quorumcache.node.state_machine import TIMED, Result
from quorumcache.node.store.commands import (
    COMMANDS,
    OP_APPEND,
    OP_EVICT,
    OP_EXPIRE,
    OP_GAT,
    OP_INCR,
    OP_SET,
    OP_TOUCH,
)
from quorumcache.node.store.effects import EFFECTS
from quorumcache.node.store.item import (
    ENDS,
    STALE,
    WON,
    cas_unique,
    expires_at_ms,
    item_cost,
    wire_data,
)
from quorumcache.node.store.results import (
    EVICTED,
    ITEM,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    STORED,
    TOUCHED,
)
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import item_of, items_of

NOW_MS = 1_700_000_000_000


def do(store: ShardStore, now_ms: int, *command: object) -> Result:
    return store.apply(1, now_ms, [(0, 0, 0, *command)])[0]


def put(store: ShardStore, key: bytes, value: bytes = b"x", exptime: int = 0) -> None:
    assert do(store, NOW_MS, OP_SET, key, wire_data(0, value), exptime) == STORED


def test_every_command_has_an_effect() -> None:
    known = [op for op, effect in enumerate(EFFECTS) if effect is not EFFECTS[0]]
    assert known == sorted(COMMANDS)


def test_evict_leaves_what_was_stored_or_removed_since_the_leader_chose() -> None:
    store = ShardStore()
    for key in (b"stored", b"gone", b"victim", b"other", b"touched"):
        put(store, key)
    items = items_of(store.items).items()
    pairs = tuple((key, cas_unique(item)) for key, item in items if key != b"other")
    put(store, b"stored")
    store.remove(b"gone")
    do(store, NOW_MS, OP_TOUCH, b"touched", 100)  # It keeps its unique, and has to make room.
    assert do(store, NOW_MS, OP_EVICT, b"", pairs) == (EVICTED, 2)
    assert sorted(items_of(store.items)) == [b"other", b"stored"]
    assert store.bytes_used == sum(item_cost(*each) for each in items_of(store.items).items())
    assert do(store, NOW_MS, OP_EVICT, b"", pairs) == (EVICTED, 0)


def test_expire_leaves_what_changed_since_the_leader_looked() -> None:
    store = ShardStore()
    put(store, b"touched", exptime=1)
    put(store, b"stored", exptime=1)
    put(store, b"early", exptime=5)
    due = store.due_expirations(NOW_MS + 5000, 10)
    do(store, NOW_MS + 999, OP_TOUCH, b"touched", 100)
    do(store, NOW_MS + 999, OP_SET, b"stored", wire_data(0, b"new"), 0)
    do(store, NOW_MS + 1000, OP_EXPIRE, b"", tuple(due))
    assert sorted(items_of(store.items)) == [b"early", b"stored", b"touched"]


def test_append_obeys_the_limit_in_its_batch() -> None:
    store = ShardStore()
    put(store, b"k", b"x" * 30)
    long, fits = (0, 0, 0, OP_APPEND, b"k", b"x" * 11), (0, 0, 0, OP_APPEND, b"k", b"x" * 10)
    assert store.apply(2, NOW_MS, [long, fits], NOW_MS, 100) == [NOT_STORED, STORED]
    assert store.apply(3, NOW_MS, [fits], NOW_MS, 100) == [NOT_STORED]
    assert store.apply(4, NOW_MS, [fits], NOW_MS, 110) == [STORED]


def test_gat_answers_the_item_with_its_new_end() -> None:
    store = ShardStore()
    put(store, b"a")
    assert do(store, NOW_MS, OP_GAT, b"a", 10) == (ITEM, item_of(store.items, b"a"))
    assert expires_at_ms(item_of(store.items, b"a")) == NOW_MS + 10_000
    assert item_of(store.items, b"a")[0] == ENDS
    assert do(store, NOW_MS, OP_GAT, b"a", 0) == (ITEM, item_of(store.items, b"a"))
    assert item_of(store.items, b"a")[:9] == bytes(9)
    assert do(store, NOW_MS, OP_GAT, b"no", 0) == NOT_FOUND
    assert do(store, NOW_MS, OP_TOUCH, b"a", 5) == TOUCHED
    assert store.due_expirations(NOW_MS + 5000, 9) == [(b"a", 1)]


@pytest.mark.parametrize("bits", [STALE, STALE | WON, WON])
def test_the_bits_of_an_item_are_not_taken_for_an_expiry(bits: int) -> None:
    """An item that is stale or won, without an expiry, lives; a new expiry leaves its bits."""
    store = ShardStore()
    put(store, b"a")
    marked = bytes((bits,)) + item_of(store.items, b"a")[1:]
    store.items.put(b"a", marked, 1)
    assert store.peek(b"a") is TIMED, "readers look at it with care"
    assert store.lookup(b"a", NOW_MS) == marked
    assert do(store, NOW_MS, OP_EXPIRE, b"", ((b"a", cas_unique(marked)),)) == (NUMBER, 0)
    assert do(store, NOW_MS, OP_TOUCH, b"a", 5) == TOUCHED
    assert item_of(store.items, b"a")[0] == bits | ENDS
    assert store.due_expirations(NOW_MS + 5000, 9) == [(b"a", 1)]
    restored = ShardStore()
    restored.restore(b"".join(store.encode_view(store.view())))
    assert (items_of(restored.items), restored.items.expiring) == (items_of(store.items), 1)
    assert do(store, NOW_MS, OP_GAT, b"a", 0) == (ITEM, marked)
    assert (store.due_expirations(NOW_MS + 5000, 9), store.items.expiring) == ([], 0)
    restored.restore(b"".join(store.encode_view(store.view())))
    assert (items_of(restored.items), restored.items.expiring) == ({b"a": marked}, 0)
    assert len(restored.expiry) == 0
    put(store, b"a")
    assert item_of(store.items, b"a")[0] == 0, "a normal store clears them"


def test_an_op_of_a_newer_version_stops_the_replica() -> None:
    with pytest.raises(CommandError):
        do(ShardStore(), NOW_MS, 0, b"a")


@pytest.mark.parametrize("command", [(OP_TOUCH, 100), (OP_TOUCH, 0), (OP_GAT, 100), (OP_GAT, 0)])
@pytest.mark.parametrize("exptime", [0, 100])
def test_a_new_expiry_counts_as_a_use(command: tuple[int, int], exptime: int) -> None:
    """As in memcached, whose `h` then shows 1."""
    store = ShardStore()
    put(store, b"k", exptime=exptime)
    assert not store.hint(b"k")[0]
    do(store, NOW_MS, command[0], b"k", command[1])
    assert store.hint(b"k")[0]


@pytest.mark.parametrize("was_hit", [False, True])
def test_counting_leaves_an_item_as_used_as_it_was(was_hit: bool) -> None:
    store = ShardStore()
    put(store, b"k", b"1")
    if was_hit:
        store.note_hit(b"k")
    do(store, NOW_MS, OP_INCR, b"k", 1)
    assert store.hint(b"k")[0] == was_hit
    do(store, NOW_MS, OP_APPEND, b"k", b"0")
    assert not store.hint(b"k")[0], "that is another item"
