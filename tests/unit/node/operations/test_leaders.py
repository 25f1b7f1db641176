"""The way to a leader: from a replica here, by hearsay, or through another node."""

from quorumcache.node.peers.items import (
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RELAY,
    LEADERS_REPLY,
    LEADERS_REQUEST,
)
from tests.support.coordinator_world import ELSEWHERE, GROUP, THERE, World


class Stranger(World):
    """A node without a replica of the group, which THERE, ELSEWHERE and node 4 hold."""

    def __init__(self) -> None:
        super().__init__()
        del self.groups[GROUP]
        self.up = {THERE, ELSEWHERE, 4}
        self.coordinator.leaders.preferred_leader = lambda group_id: THERE
        self.coordinator.leaders.replicas = lambda group_id: (THERE, ELSEWHERE, 4)

    def asked(self) -> list[int]:
        nodes = [node for node, item in self.sent if item[0] == LEADERS_REQUEST]
        self.sent.clear()
        return nodes


def test_live_replicas_are_asked_in_turn_while_the_preferred_leader_is_down() -> None:
    world = Stranger()
    world.up.discard(THERE)
    world.read()
    assert not world.sent
    asked = []
    for _ in range(4):
        world.pass_ms(100)
        asked += world.asked()
    assert sorted(set(asked)) == [ELSEWHERE, 4]
    world.coordinator.on_forward(ELSEWHERE, (LEADERS_REPLY, ((GROUP, 4, 7),)))
    to, item = world.take()
    assert (to, item[0]) == (4, FORWARD_READ)


def test_an_older_term_and_a_leader_that_is_down_are_not_believed() -> None:
    world = Stranger()
    world.up.discard(THERE)
    world.coordinator.on_forward(ELSEWHERE, (LEADERS_REPLY, ((GROUP, 4, 7),)))
    world.coordinator.on_forward(4, (LEADERS_REPLY, ((GROUP, ELSEWHERE, 6),)))
    world.read()
    to, item = world.take()
    assert to == 4
    world.coordinator.on_forward(4, (FORWARD_REFUSED, item[1], THERE, "not the leader"))
    assert not [to for to, _ in world.sent if to == THERE]


def test_a_leader_that_only_another_node_reaches_is_reached_through_it() -> None:
    world = Stranger()
    world.up.discard(THERE)
    world.read()
    world.coordinator.on_forward(ELSEWHERE, (LEADERS_REPLY, ((GROUP, THERE, 7),)))
    to, item = world.take()
    assert (to, item[0], item[2][0]) == (ELSEWHERE, FORWARD_RELAY, FORWARD_READ)
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_REFUSED, item[1], 0, "no leader"))
    assert not world.sent, "the way was wrong, and is taken again"
