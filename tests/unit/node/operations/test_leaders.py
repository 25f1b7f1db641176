"""The way to a leader: from a replica here, by hearsay, or through another node."""

from quorumcache.node.peers.items import (
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RELAY,
    LEADERS_REPLY,
    LEADERS_REQUEST,
)
from tests.support.coordinator_world import ELSEWHERE, GROUP, HERE, THERE, World


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


class LeavingWorld(World):
    """This node's replica of the group is on its way out; THERE and ELSEWHERE stay."""

    def __init__(self, *, leaves: bool = True) -> None:
        super().__init__()
        leaders = self.coordinator.leaders
        leaders.preferred_leader = lambda group_id: THERE
        leaders.replicas = lambda group_id: (THERE, ELSEWHERE, HERE)
        leaders.leaving = {GROUP} if leaves else ()
        self.group.leader_id = 0


def test_a_replica_that_its_group_has_let_go_keeps_nobody_waiting() -> None:
    world = LeavingWorld()
    world.read()
    to, item = world.take()
    assert (to, item[0]) == (THERE, FORWARD_READ)
    world.coordinator.on_forward(THERE, (FORWARD_REFUSED, item[1], ELSEWHERE, "not the leader"))
    world.pass_ms(50)
    to, item = world.take()
    assert (to, item[0]) == (ELSEWHERE, FORWARD_READ), "the one that was named"


def test_a_replica_that_waits_for_an_election_sends_nothing_to_those_who_led_before() -> None:
    world = LeavingWorld(leaves=False)
    world.read()
    assert not world.sent


def test_a_replica_on_its_way_out_is_asked_first_but_others_know_better() -> None:
    """The leader that it heard last hands over after its group has let this replica go."""
    world = LeavingWorld()
    world.group.leader_id = ELSEWHERE
    world.read()
    to, item = world.take()
    assert to == ELSEWHERE
    world.coordinator.on_forward(ELSEWHERE, (FORWARD_REFUSED, item[1], THERE, "not the leader"))
    world.pass_ms(50)
    to, _ = world.take()
    assert to == THERE
    world.group.term = 9  # Whatever it thinks of terms: nobody tells it of one.
    world.read()
    to, _ = world.take()
    assert to == THERE


def test_a_replica_on_its_way_out_names_the_leader_that_it_heard_last_and_never_its_own_node() -> (
    None
):
    """The map may prefer this node until the move is over: its clients would ask it in vain."""
    world = LeavingWorld()
    leaders = world.coordinator.leaders
    leaders.preferred_leader = lambda group_id: HERE
    assert world.coordinator.leaders.node_of(GROUP) == 0
    world.group.leader_id = ELSEWHERE
    assert world.coordinator.leaders.node_of(GROUP) == ELSEWHERE
    leaders.preferred_leader = lambda group_id: THERE
    assert world.coordinator.leaders.node_of(GROUP) == ELSEWHERE
    world.group.leader_id = 0
    assert world.coordinator.leaders.node_of(GROUP) == THERE


def test_a_leader_on_its_way_out_serves_until_it_has_handed_over() -> None:
    world = LeavingWorld()
    world.group.is_leader = True
    world.read()
    assert not world.sent
    assert len(world.outcomes) == 1


def test_for_a_group_that_let_go_of_its_replica_here_others_are_asked_at_once() -> None:
    world = LeavingWorld()
    world.up.discard(THERE)
    world.read()
    world.pass_ms(100)
    asked = [to for to, item in world.sent if item[0] == LEADERS_REQUEST]
    assert asked == [ELSEWHERE]
    world.sent.clear()
    world.coordinator.on_forward(ELSEWHERE, (LEADERS_REPLY, ((GROUP, ELSEWHERE, 1),)))
    to, item = world.take()
    assert (to, item[0]) == (ELSEWHERE, FORWARD_READ)
