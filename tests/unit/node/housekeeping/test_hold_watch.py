"""Goal: keys that are held for too long are told, for as long as they are."""

from __future__ import annotations

from quorumcache.node.alarms import Alarms
from quorumcache.node.housekeeping.hold_watch import HOLDS_LATE, HoldWatch


def test_a_warning_while_holds_are_late() -> None:
    alarms = Alarms()
    count = 0
    watch = HoldWatch(alarms, lambda: count)
    watch.look()
    assert alarms.raised() == []
    count = 1
    watch.look()
    (sentence,) = alarms.warnings()
    assert sentence.startswith("a transaction holds keys of shards that this node leads")
    assert alarms.is_raised(HOLDS_LATE)
    count = 3
    watch.look()
    (sentence,) = alarms.warnings()
    assert sentence.startswith("3 transactions hold keys")
    assert not alarms.problems(), "the node does its part"
    count = 0
    watch.look()
    assert alarms.raised() == []
