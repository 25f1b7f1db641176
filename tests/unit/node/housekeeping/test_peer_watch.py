"""Alarms about how this node stands with the others."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.housekeeping.peer_watch import FOUNDING, PEERS_REFUSE, log_alarm, look


class World:
    """A node with four others; the test says who is up, who refuses and who is waited for."""

    def __init__(self) -> None:
        self.alarms = Alarms()
        self.up: set[int] = set()
        self.refused: dict[int, str] = {}
        self.waiting: list[str] = []
        self.stores_tried = 0
        self.peers: Any = SimpleNamespace(
            node_ids=(2, 3, 4, 5),
            is_up=lambda node_id: node_id in self.up,
            refusals=lambda: self.refused,
        )

    def look(self, *, is_late: bool = False, has_peers: bool = True) -> dict[str, str]:
        """The sentences of the alarms that are raised after a look."""

        def store_if_due() -> None:
            self.stores_tried += 1

        founding: Any = SimpleNamespace(
            store_if_due=store_if_due,
            waiting_for=lambda: self.waiting,
            is_complete=not self.waiting,
            record=SimpleNamespace(cluster_id="c7"),
        )
        look(self.alarms, founding, self.peers if has_peers else None, is_late=is_late)
        return {alarm.name: alarm.sentence for alarm in self.alarms.raised()}


def test_a_founding_that_takes_too_long_names_who_is_waited_for() -> None:
    world = World()
    world.waiting = ["b", "c"]
    assert world.look() == {}, "it is not late yet"
    raised = world.look(is_late=True)
    assert "c7" in raised[FOUNDING]
    assert "waits for b, c" in raised[FOUNDING]
    world.waiting = []
    assert world.look(is_late=True) == {}
    assert world.stores_tried == 3


@pytest.mark.parametrize(
    ("up", "refusing", "is_cut_off"),
    [
        ({2, 3}, {4}, False),  # a majority of five with this node
        ({2, 3}, {4, 5}, False),
        ({2}, {3}, True),  # two of five reach nothing together
        ({2, 3}, {4, 5, 2}, True),  # more than half of the others
        ({2}, set(), False),  # down, but nobody refuses
    ],
)
def test_refusals_raise_an_alarm_when_they_cut_the_node_off(
    up: set[int], refusing: set[int], is_cut_off: bool
) -> None:
    world = World()
    world.up = up
    world.refused = {node_id: f"why of {node_id}" for node_id in sorted(refusing)}
    raised = world.look()
    assert (PEERS_REFUSE in raised) == is_cut_off
    if is_cut_off:
        sentence = raised[PEERS_REFUSE]
        assert f"{len(refusing)} of 4 other nodes do not accept this node" in sentence
        assert f"why of {min(refusing)}" in sentence
    world.refused = {}
    assert world.look() == {}


def test_before_there_are_peers_nobody_refuses() -> None:
    world = World()
    world.refused = {2: "why"}
    assert world.look(has_peers=False) == {}


def test_alarms_are_logged_when_they_come_and_go(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms(log_alarm)
    caplog.set_level(logging.INFO)
    alarms.raise_alarm(PEERS_REFUSE, "nobody accepts it")
    alarms.clear(PEERS_REFUSE)
    assert [record.message for record in caplog.records] == ["alarm_raised", "alarm_cleared"]
