"""The settings that stand in the map, in force on this node as soon as it learns the map.

A node's own flags are only the first values: the node that leads the directory when the map gets
its second form puts its own there. A flag that differs later is a warning. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.settings.checks import ITEM_BYTES_LIMIT, ITEM_BYTES_MIN
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.state_machine import WHOLE_ITEM_BYTES_MAX
from quorumcache.ring import ClusterMap
from quorumcache.ring.errors import SizeError
from quorumcache.ring.size import parse_size

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarms

ALARM: Final = "settings_differ"

_DEFAULTS: Final = NodeConfig()

_FIELDS: Final = {
    "dead_after_ms": "dead_after_ms",
    "max_item_size": "item_bytes_max",
    "move_rate": "move_bytes_per_s",
}
"""Field of `NodeConfig` of each setting that can be changed and is no field of the map."""


_FLAGS: Final = {
    "replication": "replication",
    "max-item-size": "item_bytes_max",
    "dead-after-ms": "dead_after_ms",
    "move-rate": "move_bytes_per_s",
}
"""Field of `NodeConfig`, and of `MapSettings`, of each flag that only gives a first value."""


def first_settings(config: NodeConfig) -> dict[str, str]:
    """The first values of the settings that can be changed, by name."""
    return {name: str(getattr(config, field)) for name, field in _FIELDS.items()}


class MapSettings:
    """See the module. `item_bytes_max`, `dead_after_ms`, `move_bytes_per_s`, `replication`: what is
    in force here."""

    def __init__(self, own_id: int, config: NodeConfig, alarms: Alarms) -> None:
        self._own_id = own_id
        self._config = config
        self._alarms = alarms
        self.item_bytes_max = config.item_bytes_max
        self.dead_after_ms = config.dead_after_ms
        self.move_bytes_per_s = config.move_bytes_per_s
        self.replication = config.replication
        self.on_item_bytes_max: Callable[[int], None] = _unheard
        """Hears of each other limit on items that is in force."""
        self._told_bytes_max = config.item_bytes_max

    def learned(self, cluster_map: ClusterMap) -> None:
        """A newer map."""
        config = self._config
        self.replication = cluster_map.replication
        self.dead_after_ms = _number(cluster_map, "dead_after_ms", config.dead_after_ms)
        self.move_bytes_per_s = _number(cluster_map, "move_rate", config.move_bytes_per_s)
        wanted = _number(cluster_map, "max_item_size", config.item_bytes_max)
        item_bytes_max = self.item_bytes_max = min(max(wanted, ITEM_BYTES_MIN), ITEM_BYTES_LIMIT)
        if cluster_map.form == 1:  # Some nodes know no values in pieces: items travel whole.
            item_bytes_max = min(item_bytes_max, WHOLE_ITEM_BYTES_MAX)
        if item_bytes_max != self._told_bytes_max:
            self._told_bytes_max = item_bytes_max
            self.on_item_bytes_max(item_bytes_max)
        self._warn(cluster_map)

    def _warn(self, cluster_map: ClusterMap) -> None:
        """Compare the node's own flags, those that its user has given."""
        unequal = [
            f"{flag} is {own} in the settings of this node and {in_force} in the cluster"
            for flag, field in _FLAGS.items()
            if self._is_given(field)
            and (own := getattr(self._config, field)) != (in_force := getattr(self, field))
        ]
        own = next((n for n in cluster_map.nodes if n.node_id == self._own_id), None)
        if own is not None and cluster_map.form > 1:  # Form 1 follows the flags.
            unequal += [
                f"{flag} is {told} in the settings of this node and {there} in the map"
                for flag, told, there in (
                    ("zone", self._config.zone or "-", own.zone or "-"),
                    ("weight", f"{self._config.weight:g}", f"{own.weight:g}"),
                )
                if told != there and self._is_given(flag)
            ]
        if unequal:
            self._alarms.raise_alarm(
                ALARM,
                f"{'; '.join(unequal)}. The cluster's values are in force. Take these settings out"
                " of the settings of this node, or change them with `quorumcache cluster set` or"
                " `quorumcache node set`",
            )
        else:
            self._alarms.clear(ALARM)

    def _is_given(self, field: str) -> bool:
        config = self._config
        if config.given is None:  # Not from a user: what is not the default was chosen.
            return bool(getattr(config, field) != getattr(_DEFAULTS, field))
        return field in config.given


def _number(cluster_map: ClusterMap, name: str, default: int) -> int:
    """A setting of the map; `default` where it is none or no size (a newer version's form)."""
    try:
        return parse_size(cluster_map.setting(name))
    except SizeError:
        return default


def _unheard(item_bytes_max: int) -> None:
    """Nobody has to hear of it."""
