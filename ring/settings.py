"""The cluster's settings that can be changed while it runs: names, values, bounds. Pure.

They stand in the map. The flags of the same names give the first values; a node whose flag differs
later follows the map. All other settings in the map are fixed since the founding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from quorumcache.ring.errors import SizeError
from quorumcache.ring.size import parse_size

DEAD_AFTER_MS: Final = 60_000
"""A node that is silent for so long has its replicas rebuilt elsewhere. A restart takes less."""

DEAD_AFTER_MS_MIN: Final = 1000
DEAD_AFTER_MS_MAX: Final = 7 * 24 * 3600 * 1000

MOVE_RATE_MIN: Final = 64 << 10
"""Bytes per second; less would not move a shard before it has changed again. 0 is no bound."""

MOVE_RATE_MAX: Final = 1 << 40

MAX_ITEM_SIZE_MIN: Final = 1 << 10
MAX_ITEM_SIZE_MAX: Final = 128 << 20

REPLICATIONS: Final = (1, 3, 5)
"""An even number of replicas bears no more failures than one less."""


class Changeable(NamedTuple):
    """One such setting. `read`: a number from what users write; ValueError or SizeError."""

    read: Callable[[str], int]
    low: int
    high: int
    unit: str
    zero: bool = False
    """Whether 0 is allowed, too."""


CHANGEABLE: Final = {
    "dead_after_ms": Changeable(int, DEAD_AFTER_MS_MIN, DEAD_AFTER_MS_MAX, "milliseconds"),
    "move_rate": Changeable(
        parse_size, MOVE_RATE_MIN, MOVE_RATE_MAX, "bytes per second, or 0 for no bound", True
    ),
    "max_item_size": Changeable(parse_size, MAX_ITEM_SIZE_MIN, MAX_ITEM_SIZE_MAX, "bytes"),
}
"""By name in the map. `replication` is changeable, too, and has a place of its own in the map."""


def read_setting(name: str, text: str) -> str:
    """The value as the map holds it, a decimal number. ValueError says what is wrong."""
    setting = CHANGEABLE[name]
    flag = name.replace("_", "-")
    wanted = f"{flag} is {text!r:.60}, expected {setting.low} to {setting.high} {setting.unit}"
    try:
        value = setting.read(text)
    except (ValueError, SizeError):
        raise ValueError(wanted) from None
    if not setting.low <= value <= setting.high and not (setting.zero and value == 0):
        raise ValueError(wanted)
    return str(value)


def dead_after_ms(settings: Mapping[str, str]) -> int:
    """The map's value, or the default where an older map does not name it."""
    return _number(settings, "dead_after_ms", DEAD_AFTER_MS)


def move_rate(settings: Mapping[str, str]) -> int:
    """Bytes per second that one node may copy to others; 0 = no bound."""
    return _number(settings, "move_rate", 0)


def _number(settings: Mapping[str, str], name: str, default: int) -> int:
    text = settings.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else default
