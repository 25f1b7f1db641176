"""Goal: heartbeats of many groups that come together are heard by each of them and answered once,
the answer stands for exactly these, and whatever is not usual goes the way of a message.

Method: a host with scripted logs; items as they come from, and go to, the network.
"""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from quorumcache.node.consensus.api import BEAT_COMMITS, BEAT_ODD
from quorumcache.node.consensus.raft.messages import Heartbeat
from quorumcache.node.consensus.transport import BEATS_PER_ITEM
from quorumcache.node.consensus.values import Entry, EntryKind, Role
from quorumcache.node.peers.items import BEATS, BEATS_HEARD
from quorumcache.node.state_machine import encode_batch
from tests.support.scripted_log import HostWorld

LIFE = 99
MOMENT = 5_000
STAMP = 8


class World(HostWorld):
    """Keeps what is sent, unpacked."""

    def __init__(self, *group_ids: int) -> None:
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        super().__init__(*group_ids)

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        self.sent.append((node_id, msgpack.unpackb(packed, use_list=False)))
        return super().send_packed(node_id, packed)

    def taken(self, kind: int) -> list[tuple[Any, ...]]:
        """Node and members of each item of a kind since the last call."""
        sent, self.sent = self.sent, []
        return [(node, *item[1:]) for node, item in sent if item[0] == kind]

    def hear(
        self, number: int, *group_ids: int, stamp: int = STAMP, is_copied: bool = False
    ) -> None:
        """Heartbeats of node 2 for these groups; each is told 4 committed entries."""
        fields = tuple(value for group_id in group_ids for value in (group_id, 1, 4, 0, 3))
        self.deliver(2, (BEATS, LIFE, number, MOMENT, stamp, int(is_copied), fields))

    def beat(self, group_id: int, to: int = 2, sent_ns: int = MOMENT) -> bool:
        sink = self.logs[group_id].sink
        assert sink is not None
        return sink.beat(to, 1, 4, sent_ns, 0, 0, 0)


def test_all_are_heard_and_answered_once_with_the_nodes_stamp() -> None:
    world = World(1, 2, 3)
    world.hear(7, 1, 2, 3)
    assert [log.beats for log in world.logs.values()] == [[(2, 1, 4, STAMP, 7)]] * 3
    assert [log.stepped for log in world.logs.values()] == [[]] * 3
    assert world.taken(BEATS_HEARD) == [(2, LIFE, 7, 77, ())]
    assert world.story[-1] == "flush", "the answer leaves at once"


def test_answers_to_heartbeats_that_fill_an_item_leave_together() -> None:
    """More of them are in the same frame, as a rule."""
    groups = range(1, BEATS_PER_ITEM + 2)
    world = World(*groups)
    world.turn()
    world.story.clear()
    world.hear(7, *groups[:-1])
    assert "flush" not in world.story
    world.hear(8, groups[-1])
    world.turn()
    assert len(world.taken(BEATS_HEARD)) == 2
    assert world.story.count("flush") == 1


def test_without_a_stamp_nothing_is_told_of_freshness() -> None:
    world = World(1)
    world.hear(7, 1, stamp=0)
    assert world.logs[1].beats == [(2, 1, 4, 0, 0)]


def test_what_is_not_usual_is_stepped_and_not_answered_for() -> None:
    """A group that is not here is not answered for, either."""
    world = World(1, 2, 3)
    world.logs[2].hears = BEAT_ODD
    world.hear(7, 1, 2, 3, 9)
    assert world.logs[2].stepped == [(2, Heartbeat(1, 4, MOMENT, 0, STAMP, 7))]
    assert world.taken(BEATS_HEARD) == [(2, LIFE, 7, 77, (1, 3))]
    world.logs[1].hears = world.logs[3].hears = BEAT_ODD
    world.hear(8, 1, 2, 3, 9)
    assert world.taken(BEATS_HEARD) == [], "nobody has heard it"


def test_the_second_copy_is_not_heard() -> None:
    world = World(1)
    again: list[bytes] = []
    world.send_again = lambda node_id, packed: again.append(packed)  # type: ignore[method-assign]
    for _ in range(2):
        world.hear(7, 1, is_copied=True)
    assert len(world.logs[1].beats) == 1
    assert len(world.taken(BEATS_HEARD)) == len(again) == 1, "the answer is copied, too"
    world.hear(8, 1)
    assert len(again) == 1
    assert len(world.logs[1].beats) == 2


def test_what_a_heartbeat_commits_is_applied_at_once_and_makes_the_state_fresh() -> None:
    world = World(1)
    log, group = world.logs[1], world.groups[1]
    log.hears = BEAT_COMMITS
    log.committed = [Entry(1, 1, int(EntryKind.NORMAL), encode_batch(1001, []))]
    log.fresh = [(1, 4321)]
    world.hear(7, 1)
    assert group.applied_index == 1
    assert group.fresh_ns == 4321
    assert not group.dirty


@pytest.mark.parametrize("trouble", ["disk_trouble", "stopped"])
def test_a_node_that_may_promise_nothing_hears_nothing(trouble: str) -> None:
    world = World(1)
    setattr(world.host, trouble, "full" if trouble == "disk_trouble" else True)
    world.hear(7, 1)
    assert world.logs[1].beats == world.logs[1].stepped == []
    assert world.taken(BEATS_HEARD) == []
    world.beat(1)
    world.transport.flush()
    number = world.taken(BEATS)[0][2]
    world.deliver(2, (BEATS_HEARD, 0, number, STAMP, ()))
    assert world.logs[1].beat_answers == []


# -- the leader --------------------------------------------------------------------------------


def test_heartbeats_of_all_groups_leave_as_one_item_without_a_turn() -> None:
    world = World(1, 2)
    world.turn()
    world.told()
    for log in world.logs.values():
        log.next_ready = None
    assert [world.beat(1), world.beat(2), world.beat(2, to=3)] == [True] * 3
    world.host.pass_tick(MOMENT)
    assert not any(group.dirty for group in world.groups.values())
    world.turn()
    assert world.taken(BEATS) == [
        (2, 0, 1, MOMENT, 0, 1, (1, 1, 4, 0, 0, 2, 1, 4, 0, 0)),
        (3, 0, 2, MOMENT, 0, 1, (2, 1, 4, 0, 0)),
    ]
    world.transport.flush()
    assert world.sent == []


def test_a_tick_at_which_nothing_was_due_leaves_nothing_to_do() -> None:
    world = World(1)
    world.turn()
    world.told()
    world.logs[1].is_due = False
    world.host.pass_tick(MOMENT)
    world.turn()
    assert world.told() == []
    assert not world.groups[1].dirty


def led_world() -> World:
    """Node 1 leads groups 1 and 2, and has sent their heartbeats to node 2 as number 1."""
    world = World(1, 2)
    for log in world.logs.values():
        log.lead()
    world.turn(1, 2)
    world.beat(1)
    world.beat(2)
    world.transport.flush()
    world.sent.clear()
    return world


def test_an_answer_is_told_to_each_group_in_the_term_in_which_it_was_sent() -> None:
    world = led_world()
    for log in world.logs.values():
        log.term = 5
    for _ in range(2):
        world.deliver(2, (BEATS_HEARD, 0, 1, STAMP, ()))
    assert [log.beat_answers for log in world.logs.values()] == [[(2, 1, MOMENT, 0, STAMP)]] * 2


def test_an_answer_says_nothing_about_the_groups_that_it_leaves_out() -> None:
    world = led_world()
    world.host.remove_group(1)
    world.deliver(2, (BEATS_HEARD, 0, 1, STAMP, (1,)))
    assert [log.beat_answers for log in world.logs.values()] == [[], []]


def test_an_answer_renews_the_lease_without_a_turn_and_what_else_it_makes_due_has_one() -> None:
    world = led_world()
    log = world.logs[1]

    def renew() -> None:
        log.lease_until_ns = 9_999

    log.on_step = renew
    world.logs[2].on_step = lambda: world.logs[2].become(Role.FOLLOWER, 2)
    world.deliver(2, (BEATS_HEARD, 0, 1, STAMP, ()))
    assert world.groups[1].lease_until_ns == 9_999
    assert [group.dirty for group in world.groups.values()] == [False, True]


def fails() -> None:
    raise AssertionError("our bug")


def fails_to_hear(*_: int) -> int:
    raise AssertionError("our bug")


def test_a_log_that_fails_ends_the_node() -> None:
    world = World(1)
    world.logs[1].hear_beat = fails_to_hear  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="our bug"):
        world.hear(7, 1)
    other = led_world()
    other.logs[1].on_step = fails
    with pytest.raises(AssertionError, match="our bug"):
        other.deliver(2, (BEATS_HEARD, 0, 1, STAMP, ()))
    assert len(world.fatal) == len(other.fatal) == 1
