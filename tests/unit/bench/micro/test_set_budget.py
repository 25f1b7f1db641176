"""The steps of a set still fit the node's code: it goes all its way, and the short one."""

from __future__ import annotations

from quorumcache.bench.micro.allocations import Counter
from quorumcache.bench.micro.set_budget import FOLLOWER, OTHER, SetBudget
from quorumcache.bench.micro.stand_ins import VALUE, key_of
from quorumcache.bench.micro.steps import measure
from quorumcache.node.store.item import ITEM_DATA

NOTHING = Counter(None)
ROUNDS = 7 + 3


def test_each_round_is_a_write_that_is_committed_and_applied() -> None:
    found = SetBudget()
    before = found._leader.commit_index
    measure(found.steps(), 7, NOTHING)
    assert found._leader.commit_index == before + ROUNDS
    assert found._follower.last_index == before + ROUNDS
    assert found._number == ROUNDS
    assert found._store.applied_index == before + ROUNDS
    item = found._store.items.get(key_of(ROUNDS))
    assert item is not None
    assert item[ITEM_DATA:] == b" 0 100\r\n" + VALUE + b"\r\n"


def test_nobody_needs_a_ready_and_nothing_stays_behind() -> None:
    found = SetBudget()
    measure(found.steps(), 7, NOTHING)
    assert not found._leader.has_ready()
    assert not found._follower.has_ready()
    assert {p.replica_id for p in found._leader.peers} == {FOLLOWER, OTHER}
    assert found._leads._bundles.unanswered[FOLLOWER].count == 0


def test_the_logs_and_what_is_remembered_of_the_silent_node_stay_small() -> None:
    found = SetBudget()
    measure(found.steps(), 1200, NOTHING)
    assert found._leader.log.last_index - found._leader.log.first_index < 600
    assert found._leads._bundles.unanswered[OTHER].count < 600
