"""Operations that wait for their next attempt."""

from typing import Any

from quorumcache.node.operations.called_write import CalledWrite
from quorumcache.node.operations.failure import CROWDED
from quorumcache.node.operations.held import CROWDED_READS_MAX, Held
from quorumcache.node.operations.operation import OperationOwner, Read, Write
from quorumcache.node.operations.reply_room import ReplyRoom
from quorumcache.node.store.commands import OP_DELETE

OWNER = OperationOwner()


def ignore(outcome: Any) -> None:
    """Nobody waits here."""


def write(group_id: int, sequence: int) -> Write:
    made = CalledWrite(OWNER, group_id, 0, OP_DELETE, b"k", (), 1, ignore)
    made.sequence = sequence
    return made


def test_writes_leave_in_the_order_of_their_sequences() -> None:
    """One that was lost and came back stands behind later ones, and has to go first."""
    held = Held()
    writes = {number: write(5, number) for number in (3, 1, 2)}
    for one in writes.values():
        held.add(one, "no leader")
    assert held.take(5) == [writes[1], writes[2], writes[3]]


def test_each_group_waits_by_itself_and_is_taken_once() -> None:
    held = Held()
    ours, other = Read(OWNER, 5, 0, (b"k",), ignore), write(6, 1)
    held.add(ours, "not the leader")
    held.add(other, "too many")
    assert held.groups() == [5, 6]
    assert held.take(5) == [ours]
    assert held.take(5) == []
    assert held.groups() == [6]
    assert (ours.why, ours.refusal) == ("not the leader", "")
    assert (other.why, other.refusal) == ("too many", "too many")


class Room(ReplyRoom):
    """A client that may have room."""

    def __init__(self, has_room: bool) -> None:
        self.room = has_room
        self.parked: list[Read] = []

    def has_room(self) -> bool:
        return self.room

    def park(self, read: Read) -> None:
        self.parked.append(read)


def crowded(held: Held, count: int, room: Room | None = None) -> list[Read]:
    reads = [Read(OWNER, 5, 0, (b"k",), ignore) for _ in range(count)]
    for read in reads:
        read.room = room
        held.add(read, CROWDED)
    return reads


def test_of_reads_that_met_a_crowd_some_are_tried_again_the_oldest_first() -> None:
    held = Held()
    reads = crowded(held, 2 * CROWDED_READS_MAX + 1)
    write_of_group, read_of_group = write(6, 1), Read(OWNER, 6, 0, (b"k",), ignore)
    held.add(write_of_group, CROWDED)
    held.add(read_of_group, "no leader")
    assert held.groups() == [6], "nobody has to be asked for the leader of the others"
    assert held.take_due() == [read_of_group, write_of_group, *reads[:CROWDED_READS_MAX]]
    (again,) = crowded(held, 1)
    assert held.take_due() == reads[CROWDED_READS_MAX : 2 * CROWDED_READS_MAX]
    assert held.take_due() == [reads[-1], again]
    assert held.take_due() == []


def test_a_read_without_room_is_parked_before_it_is_asked_again() -> None:
    """Its answer would cross the network to be dropped."""
    held = Held()
    full, open_ = Room(False), Room(True)
    parked = crowded(held, CROWDED_READS_MAX, full)
    (other,) = crowded(held, 1, open_)
    parked[0].found = [b"x"]
    assert held.take_due() == [other]
    assert full.parked == parked
    assert all(read.parked and not read.found for read in parked)


def test_a_read_that_has_ended_is_not_tried_again() -> None:
    held = Held()
    ended, other = crowded(held, 2)
    ended.finished = True
    assert held.take_due() == [other]
