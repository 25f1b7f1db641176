"""The sequences of this node's writes, and the floor below which a group may forget."""

from random import Random

from quorumcache.node.operations.numbering import FIRST_SEQUENCE, NodeSession


def test_the_floor_is_the_lowest_unanswered_sequence_whatever_ends_first() -> None:
    random = Random(7)
    session = NodeSession(9)
    assert session.floor() == FIRST_SEQUENCE
    open_ones: set[int] = set()
    given = FIRST_SEQUENCE - 1
    for _ in range(500):
        if open_ones and random.random() < 0.5:
            ended = random.choice(sorted(open_ones))
            open_ones.remove(ended)
            session.end(ended)
            if random.random() < 0.1:
                session.end(ended)  # What has ended may end again.
        else:
            given += 1
            assert session.take() == given, "a sequence that was given before"
            open_ones.add(given)
        assert session.floor() == min(open_ones, default=given + 1)
