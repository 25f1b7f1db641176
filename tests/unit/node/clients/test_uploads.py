"""A large value on its way into its shard: what is under way, and every way in which it ends."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from quorumcache.node.clients.large_handlers import value_begins, value_ends, value_piece
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.slots import Slot
from quorumcache.node.clients.uploads import (
    DROPPED,
    PIECE_NS,
    PIECES_UNDER_WAY_MAX,
    LargeWrite,
    Upload,
)
from quorumcache.node.clients.write_room import WriteRoom
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.operations.failure import Failure
from quorumcache.node.protocol.requests import Store, ValueBegins, ValueEnds, ValuePiece
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_CAS,
    OP_DELETE,
    OP_DROP_PIECES,
    OP_PIECE,
    OP_SET,
    OP_STORE_PIECES,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    OK,
    OUT_OF_MEMORY,
    PIECE_STAGED,
    PIECES_MISSING,
    STAGING_FULL,
    STORED,
)
from quorumcache.node.telemetry.counters import Counters

DEADLINE_NS = 5000


class World:
    """A conversation whose coordinator, loop and replies the test plays by hand."""

    def __init__(self, op: int = OP_SET, identity: Any = None) -> None:
        self.now_ns = 0
        self.writes: list[tuple[int, tuple[Any, ...], Any, Any]] = []
        self.later: list[Any] = []
        self.told: list[bytes] = []
        self.pumps = 0
        self.replies = SimpleNamespace(
            schedule_pump=self.schedule_pump,
            reply=self.told.append,
            fill=lambda slot, data: self.told.append(data),
            take_slot=self.take_slot,
        )
        self.counters = Counters()
        self.inflight_bytes = self.silent_writes = 0
        self.upload: Any = None
        self.fence: Any = None
        self.settings = SimpleNamespace(redirect=False)
        self.order = self
        self.coordinator = SimpleNamespace(
            write=self.write,
            sessions=SimpleNamespace(new_id=lambda: 77),
            deadline_ns=lambda: DEADLINE_NS,
        )
        self.context = SimpleNamespace(
            group_of=lambda key: 1,
            monotonic_ns=lambda: self.now_ns,
            write_room=WriteRoom(),
            loop=SimpleNamespace(call_later=lambda delay, call: self.later.append(call)),
            failed=lambda failure: f"FAILED {failure.outcome_known} {failure.why}".encode(),
            events=SimpleNamespace(is_on=False),
        )
        self.request = Store(op, b"k", b" 0 9\r\n", 0, 0, False)
        self.identity = identity

    # What a conversation, its order and its replies are asked.

    def schedule_pump(self) -> None:
        self.pumps += 1

    def take_slot(self, noreply: bool) -> Slot | None:
        return None if noreply else Slot()

    def lane_of(self, group_id: int) -> GroupLane:
        return GroupLane(cast(Any, None), group_id)

    def begin(self, lane: GroupLane, is_write: bool, start: Any) -> None:
        start(0)

    def ended(self, lane: GroupLane, is_write: bool) -> None:
        pass

    def redirected(self, keys: Any, noreply: bool) -> bool:
        return True

    def write(
        self, group_id: int, op: int, key: bytes, args: Any, size: int, done: Any, *more: Any
    ) -> Any:
        assert (group_id, key) == (1, b"k")
        self.writes.append((op, args, done, more[1] if len(more) > 1 else None))
        return SimpleNamespace(finished=False, unfinished_before=lambda: None)

    # What the test does.

    def start(self) -> Upload:
        self.upload = Upload(cast(Any, self), self.request, 9, False, self.identity)
        return cast(Upload, self.upload)

    def answer(self, outcome: Any) -> None:
        _, _, done, _ = self.writes.pop(0)
        done(outcome)

    def store(self, upload: Upload) -> None:
        pending = PendingWrite(
            *(cast(Any, self), Slot(), GroupLane(cast(Any, None), 1), self.request.op, b"k"),
            *((self.request.data, 0), 1, None, self.identity),
        )
        upload.when_settled(lambda: LargeWrite(upload, pending).start(0))


@pytest.mark.parametrize(
    ("took_ns", "at_once"),
    [
        *((0, 1), (PIECE_NS - 1, 1), (PIECE_NS, 2), (3 * PIECE_NS, 4)),
        (100 * PIECE_NS, PIECES_UNDER_WAY_MAX),
    ],
)
def test_the_first_piece_goes_alone_then_as_many_as_its_time_is_long(
    took_ns: int, at_once: int
) -> None:
    world = World()
    upload = world.start()
    assert not upload.is_full
    upload.piece(b"a")
    assert upload.is_full
    assert world.writes[0][:2] == (OP_PIECE, (77, 0, 9, b"a"))
    world.now_ns += took_ns
    world.answer(PIECE_STAGED)
    for number in range(at_once):
        assert not upload.is_full
        upload.piece(b"%d" % number)
    assert upload.is_full
    assert [write[1][1] for write in world.writes] == list(range(1, at_once + 1))
    world.now_ns += took_ns
    world.answer(PIECE_STAGED)
    assert not upload.is_full
    assert world.pumps == 2


def test_pieces_that_get_faster_go_in_smaller_numbers() -> None:
    world = World()
    upload = world.start()
    upload.piece(b"a")
    world.now_ns += PIECE_NS
    world.answer(PIECE_STAGED)
    upload.piece(b"b")
    upload.piece(b"c")
    world.answer(PIECE_STAGED)  # At once.
    assert upload.is_full, "the other one is still under way"
    world.answer(PIECE_STAGED)
    assert not upload.is_full


def test_what_is_under_way_counts_as_unfinished_writes() -> None:
    world = World()
    upload = world.start()
    upload.piece(bytes(1000))
    assert world.inflight_bytes == world.context.write_room.taken_bytes > 1000
    world.answer(PIECE_STAGED)
    assert world.inflight_bytes == world.context.write_room.taken_bytes == 0


def test_it_is_stored_when_all_its_pieces_are_there() -> None:
    world = World()
    upload = world.start()
    upload.piece(b"a")
    world.store(upload)
    assert len(world.writes) == 1, "not before"
    world.answer(PIECE_STAGED)
    op, args, _, _ = world.writes[0]
    assert (op, args) == (OP_STORE_PIECES, (77, (OP_SET, b" 0 9\r\n", 0)))
    world.answer(STORED)
    assert world.told == [b"STORED\r\n"]
    assert (world.writes, world.inflight_bytes) == ([], 0)


def test_no_later_request_begins_before_it_is_in_its_lane() -> None:
    """At the leader's node writes follow each other at once, in the order in which they begin."""
    world = World()
    conversation = cast(Any, world)
    value_begins(conversation, ValueBegins(world.request, 9, False))
    value_piece(conversation, ValuePiece(b"123456789"))
    world.answer(PIECE_STAGED)
    value_piece(conversation, ValuePiece(b"12"))
    value_ends(conversation, ValueEnds(True))
    assert world.upload.is_full
    assert len(world.writes) == 1
    world.answer(PIECE_STAGED)
    assert world.upload is None
    assert world.writes[0][0] == OP_STORE_PIECES


def test_a_client_that_goes_after_the_end_of_its_value_has_it_stored() -> None:
    """As any write that was sent whole, a silent one in particular."""
    world = World()
    conversation = cast(Any, world)
    value_begins(conversation, ValueBegins(world.request, 9, True))
    value_piece(conversation, ValuePiece(b"123456789"))
    value_ends(conversation, ValueEnds(True))
    assert world.upload.is_ended
    world.upload = None
    world.answer(PIECE_STAGED)
    assert world.writes[0][0] == OP_STORE_PIECES


def test_a_client_s_identity_goes_with_what_stores_and_not_with_the_pieces() -> None:
    world = World(identity=(1 << 62, 5, 5))
    upload = world.start()
    upload.piece(b"a")
    assert world.writes[0][3] is None
    world.answer(PIECE_STAGED)
    world.store(upload)
    assert world.writes[0][3] == (1 << 62, 5, 5)


def test_a_full_shard_is_asked_again_until_the_deadline() -> None:
    world = World()
    upload = world.start()
    upload.piece(b"a")
    world.answer(STAGING_FULL)
    assert upload.is_full
    world.later.pop()()
    assert world.writes[0][:2] == (OP_PIECE, (77, 0, 9, b"a"))
    world.now_ns = DEADLINE_NS
    world.answer(STAGING_FULL)
    assert world.later == []
    world.store(upload)
    assert world.told[0].startswith(b"FAILED True the shard takes in as many")


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (Failure("no leader", outcome_known=True), b"FAILED True no leader"),
        (Failure("lost", outcome_known=False), b"FAILED True lost"),
        (PIECES_MISSING, b"FAILED True " + DROPPED.encode()),
    ],
)
def test_a_piece_that_failed_is_known_to_have_stored_nothing(outcome: Any, reply: bytes) -> None:
    world = World()
    upload = world.start()
    upload.piece(b"a")
    world.answer(outcome)
    assert not upload.is_full, "the rest of the block is received and thrown away"
    upload.piece(b"b")
    assert world.writes == []
    world.store(upload)
    assert world.told == [reply]
    assert world.writes[0][:2] == (OP_DROP_PIECES, (77, 0))
    world.answer(OK)


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (Failure("timeout", outcome_known=False), b"FAILED False timeout"),
        (PIECES_MISSING, b"FAILED True " + DROPPED.encode()),
    ],
)
def test_a_store_that_failed(outcome: Any, reply: bytes) -> None:
    world = World()
    upload = world.start()
    upload.piece(b"a")
    world.answer(PIECE_STAGED)
    world.store(upload)
    world.answer(outcome)
    assert world.told == [reply]
    dropped = [op for op, *_ in world.writes]
    assert dropped == ([OP_DROP_PIECES] if isinstance(outcome, Failure) else [])


@pytest.mark.parametrize(
    ("op", "identity", "instead", "result", "reply"),
    [
        (OP_SET, None, OP_DELETE, DELETED, b"SERVER_ERROR out of memory storing object\r\n"),
        (OP_SET, (1 << 62, 5, 5), OP_DELETE, STORED, b"STORED\r\n"),
        (OP_ADD, None, 0, 0, b"SERVER_ERROR out of memory storing object\r\n"),
        (OP_ADD, (1 << 62, 5, 5), OP_CAS, EXISTS, b"SERVER_ERROR out of memory storing object\r\n"),
        (OP_ADD, (1 << 62, 5, 5), OP_CAS, STORED, b"STORED\r\n"),
    ],
)
def test_a_leader_without_memory(
    op: int, identity: Any, instead: int, result: int, reply: bytes
) -> None:
    """A set takes the old value with it. Under a client's identity the session is asked first: it
    may be a repetition."""
    world = World(op, identity)
    upload = world.start()
    upload.piece(b"a")
    world.answer(OUT_OF_MEMORY)
    world.store(upload)
    assert world.writes[0][:2] == (OP_DROP_PIECES, (77, 0))
    world.answer(OK)
    if instead:
        assert world.writes[0][0] == instead
        assert world.writes[0][3] == identity
        world.answer(result)
    assert world.told == [reply]


def test_a_client_that_goes_has_its_pieces_dropped_once() -> None:
    world = World()
    upload = world.start()
    upload.drop()
    assert world.writes == [], "there is nothing to drop"
    upload = world.start()
    upload.piece(b"a")
    world.answer(PIECE_STAGED)
    upload.drop()
    upload.drop()
    assert [op for op, *_ in world.writes] == [OP_DROP_PIECES]


def test_a_block_from_its_line_to_its_end() -> None:
    world = World()
    conversation = cast(Any, world)
    value_begins(conversation, ValueBegins(world.request, 9, False))
    value_piece(conversation, ValuePiece(b"123456789"))
    value_ends(conversation, ValueEnds(True))
    world.answer(PIECE_STAGED)
    assert world.upload is None
    world.answer(STORED)
    assert world.told == [b"STORED\r\n"]
    assert world.counters.cmd_set == 1


@pytest.mark.parametrize("noreply", [False, True])
def test_a_block_without_its_end_stores_nothing(noreply: bool) -> None:
    world = World()
    conversation = cast(Any, world)
    value_begins(conversation, ValueBegins(world.request, 9, noreply))
    value_piece(conversation, ValuePiece(b"123456789"))
    value_ends(conversation, ValueEnds(False))
    assert [op for op, *_ in world.writes] == [OP_PIECE, OP_DROP_PIECES]
    assert world.told == ([] if noreply else [b"CLIENT_ERROR bad data chunk\r\n"])
    assert world.counters.protocol_errors == 1


def test_a_block_that_was_answered_at_its_line_has_no_effect() -> None:
    world = World()
    world.settings.redirect = True
    conversation = cast(Any, world)
    value_begins(conversation, ValueBegins(world.request, 9, False))
    value_piece(conversation, ValuePiece(b"123456789"))
    value_ends(conversation, ValueEnds(True))
    assert world.writes == []


def test_a_node_with_too_many_unfinished_writes_takes_no_more() -> None:
    world = World()
    world.context.write_room.taken_bytes = 1 << 30
    conversation = cast(Any, world)
    value_begins(conversation, ValueBegins(world.request, 9, False))
    value_piece(conversation, ValuePiece(b"123456789"))
    value_ends(conversation, ValueEnds(True))
    assert world.writes == []
    assert world.told[0].startswith(b"FAILED True this node has too many unfinished writes")
    assert world.counters.writes_refused == 1
