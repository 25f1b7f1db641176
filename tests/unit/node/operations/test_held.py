"""Operations that wait for their next attempt."""

from typing import Any

from quorumcache.node.operations.called_write import CalledWrite
from quorumcache.node.operations.held import Held
from quorumcache.node.operations.operation import OperationOwner, Read, Write
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
