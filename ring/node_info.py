"""What the cluster knows about one node. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from quorumcache.ring.address import is_unix, parse_address
from quorumcache.ring.errors import AddressError, MapError

NODE_ID_MAX = (1 << 31) - 1
TEXT_CHARS_MAX = 255  # names, zones and addresses: longer than any DNS name with a port
WEIGHT_MIN = 1e-6
WEIGHT_MAX = 1e6  # weights are relative: within bounds no quotient of them becomes 0 or infinite
WEIGHTS = f"a number from {WEIGHT_MIN:f} to {WEIGHT_MAX:.0f}, or 0 for a gateway"

JOINING: Final = "joining"
"""The directory has taken it in, and has not heard it as a member yet."""
ACTIVE: Final = "active"
DRAINING: Final = "draining"
"""Its replicas move to other nodes. It gets no new ones."""
DRAINED: Final = "drained"
"""It holds nothing any more, and passes on what its clients ask until they have left."""
DOWN: Final = "down"
"""Silent for longer than `dead-after-ms`: its replicas are rebuilt elsewhere."""
LOST: Final = "lost"
"""It will not come back. It leaves the map when no group counts on it any more."""
STATES: Final = (JOINING, ACTIVE, DRAINING, DRAINED, DOWN, LOST)

_DISK_ID = re.compile(r"[0-9a-f]{32}\Z")


def is_disk_id(text: object) -> bool:
    """Whether this is an id of 128 random bits, as 32 lower-case hexadecimal digits."""
    return type(text) is str and _DISK_ID.match(text) is not None


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node.

    `node_id`: from 1, never used again for another node. `name`: unique, without white space. The
    three addresses are host:port; `http_address` may be "" (no HTTP endpoint), `client_address` is
    `unix:/path` on a node that takes clients in on a Unix socket alone. `zone`: failure
    domain, "" if there are none. `weight`: share of the replicas relative to the other nodes; 0: a
    gateway, which holds no replicas. `disk_id`: the random id of the data directory that may speak
    for this node; "" where no process stands behind the map. `state`: one of `STATES`.
    """

    node_id: int
    name: str
    peer_address: str
    client_address: str
    http_address: str
    zone: str
    weight: float
    disk_id: str = ""
    state: str = ACTIVE

    @property
    def is_placeable(self) -> bool:
        """Whether shards may be placed on it."""
        return self.state == ACTIVE and self.weight > 0

    def with_id(self, node_id: int) -> NodeInfo:
        """The same node under another id: a founder gets its id when the record is made."""
        return replace(self, node_id=node_id)


def check_node(node: NodeInfo) -> None:
    """Raise `MapError` for the first thing that is wrong with what is known of a node."""
    where = f"node {node.node_id}"
    check_text(f"{where}: name", node.name)
    check_address(f"{where}: peer_address", node.peer_address)
    # A map from outside may have anything in the place of a text.
    if isinstance(node.client_address, str) and is_unix(node.client_address):
        check_text(f"{where}: client_address", node.client_address)
    else:
        check_address(f"{where}: client_address", node.client_address)
    if node.http_address != "":
        check_address(f"{where}: http_address", node.http_address)
    if node.zone != "":
        check_text(f"{where}: zone", node.zone)
    if node.disk_id != "" and not is_disk_id(node.disk_id):
        raise MapError(f"{where}: disk_id is {node.disk_id!r:.60}, expected 32 hexadecimal digits")
    if not is_weight(node.weight):
        raise MapError(f"{where}: weight is {node.weight!r:.60}, expected {WEIGHTS}")
    if node.state not in STATES:
        raise MapError(f"{where}: state is {node.state!r:.60}, expected one of {', '.join(STATES)}")


def is_weight(value: object) -> bool:
    """Whether a node may have this weight: 0, or a number from `WEIGHT_MIN` to `WEIGHT_MAX`."""
    return (
        isinstance(value, int | float)
        and type(value) is not bool
        and (value == 0 or WEIGHT_MIN <= value <= WEIGHT_MAX)
    )


def check_int(field: str, value: Any, low: int, high: int) -> None:
    """Raise `MapError` unless `value` is an integer from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise MapError(f"{field} is {value!r:.100}, expected an integer in [{low}, {high}]")


def check_text(field: str, value: Any) -> None:
    """Printable text without white space, since it appears as one word in replies and logs."""
    if type(value) is not str or not 1 <= len(value) <= TEXT_CHARS_MAX:
        raise MapError(f"{field} is {value!r:.100}, expected 1 to {TEXT_CHARS_MAX} characters")
    if not value.isprintable() or " " in value:
        raise MapError(f"{field} is {value!r:.100}, expected printable text without spaces")


def check_address(field: str, value: Any) -> None:
    """Raise `MapError` unless `value` is HOST:PORT."""
    check_text(field, value)
    try:
        parse_address(value)
    except AddressError as error:
        raise MapError(f"{field}: {error}") from None
