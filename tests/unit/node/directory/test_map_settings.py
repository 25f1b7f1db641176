"""Settings of the map are in force as soon as it is known; own ones that differ are a warning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.directory.map_settings import MapSettings, first_settings
from quorumcache.node.settings.checks import ITEM_BYTES_LIMIT
from quorumcache.node.settings.config import NodeConfig
from quorumcache.ring import ClusterMap
from tests.support.founding import record_of


def a_map(replication: int = 3, **settings: str) -> ClusterMap:
    first = replace(record_of("a", "b", "c").first_map(), form=2, directory=(1,))
    pairs = tuple(sorted({**dict(first.settings), **settings}.items()))
    return replace(first, replication=replication, settings=pairs)


class World:
    def __init__(self, **config: int) -> None:
        self.alarms = Alarms()
        self.limits: list[int] = []
        self.config = NodeConfig(**config)  # type: ignore[arg-type]
        self.settings = MapSettings(2, self.config, self.alarms)
        self.settings.on_item_bytes_max = self.limits.append

    def warnings(self) -> str:
        return " ".join(self.alarms.warnings())


def test_first_values_are_the_nodes_own_and_read_back_as_such() -> None:
    config = NodeConfig(item_bytes_max=1 << 21, dead_after_ms=30_000, move_bytes_per_s=1 << 20)
    first = first_settings(config)
    assert first == {
        "dead_after_ms": "30000",
        "max_item_size": str(1 << 21),
        "move_rate": str(1 << 20),
    }
    world = World()
    world.settings.learned(a_map(**first))
    settings = world.settings
    assert (settings.item_bytes_max, settings.dead_after_ms) == (1 << 21, 30_000)
    assert settings.move_bytes_per_s == 1 << 20
    assert world.limits == [1 << 21]


def test_a_map_of_the_first_form_leaves_the_nodes_own() -> None:
    world = World(item_bytes_max=1 << 21)
    world.settings.learned(record_of("a", "b", "c").first_map())
    assert world.settings.item_bytes_max == 1 << 21
    assert not world.limits
    assert not world.alarms.raised()


def test_each_other_limit_is_told_once() -> None:
    world = World()
    world.settings.learned(a_map(max_item_size="2m"))
    world.settings.learned(a_map(max_item_size="2097152"))
    world.settings.learned(a_map(max_item_size="1m"))
    assert world.limits == [2 << 20, 1 << 20]


@pytest.mark.parametrize(("text", "limit"), [("1g", ITEM_BYTES_LIMIT), ("1", 1 << 10)])
def test_no_map_makes_a_node_take_items_that_it_cannot_handle(text: str, limit: int) -> None:
    world = World()
    world.settings.learned(a_map(max_item_size=text))
    assert world.limits == [limit]


def test_what_means_nothing_here_leaves_the_nodes_own() -> None:
    world = World()
    world.settings.learned(a_map(max_item_size="huge", dead_after_ms="soon"))
    assert world.settings.item_bytes_max == 1 << 20
    assert world.settings.dead_after_ms == 60_000


def test_own_settings_that_differ_are_a_warning_until_they_do_not() -> None:
    world = World(replication=1, item_bytes_max=1 << 21)
    world.settings.learned(a_map(replication=3, max_item_size="1m"))
    (alarm,) = world.alarms.raised()
    assert (alarm.name, alarm.serious) == ("settings_differ", False)
    assert "replication is 1 in the settings of this node and 3 in the cluster" in alarm.sentence
    assert "max-item-size is 2097152" in alarm.sentence
    world.settings.learned(a_map(replication=1, max_item_size="2m"))
    assert not world.alarms.raised()


@pytest.mark.parametrize(("given", "count"), [({"replication"}, 1), ({"shards"}, 0)])
def test_a_flag_with_the_default_counts_if_it_was_given(given: set[str], count: int) -> None:
    world = World()
    config = replace(world.config, given=frozenset(given))
    MapSettings(2, config, world.alarms).learned(a_map(replication=5))
    assert len(world.alarms.raised()) == count


def test_a_setting_that_was_not_given_is_no_difference() -> None:
    world = World()
    world.settings.learned(a_map(replication=5, max_item_size="2m", dead_after_ms="5000"))
    assert not world.alarms.raised()


def test_a_zone_and_a_weight_that_were_changed_in_the_map_are_told() -> None:
    world = World()
    config = replace(world.config, zone="old", weight=2.0)
    settings = MapSettings(2, config, world.alarms)
    first = record_of("a", "b", "c").first_map()
    settings.learned(first)
    assert not world.alarms.raised(), "the map of form 1 follows the flags"
    changed = a_map().with_node(replace(first.node(2), zone="new", weight=2.0))
    settings.learned(changed)
    assert "zone is old in the settings of this node and new in the map." in world.warnings()
    assert "weight" not in world.warnings()
    settings.learned(changed.with_node(replace(changed.node(2), zone="old")))
    assert not world.alarms.raised()
