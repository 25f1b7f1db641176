"""Commands that nodes of the release before do not know: when they may be sent.

A replica that does not know a command ends over it, now and at each start. So none of them is sent
before the cluster's map is of form 2: then all nodes know them. While this node has no map at all
(it was started a moment ago, or waits for its founding) such a command is held, as every command
is. With a map of form 1 the cluster is being upgraded, which may take hours: it is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.failure import NO_LEADER, Failure
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.operation import Write
from quorumcache.node.store.commands import OP_META_GET

if TYPE_CHECKING:
    from quorumcache.node.operations.serving import ServingHost

FIRST_NEW_OP: Final = OP_META_GET
"""The commands of clients from here on came with form 2."""

NEEDS_UPGRADE: Final = "some nodes do not know this command yet: finish the upgrade"

_ANY_SHARD: Final = 1
"""A group that is in each map."""


class NewOps:
    """See the module."""

    __slots__ = ("_host", "_leaders")

    def __init__(self, host: ServingHost, leaders: Leaders) -> None:
        self._host = host
        self._leaders = leaders

    def may_begin(self) -> bool:
        """Whether a request that leads to such commands may be taken in."""
        return self._host.may_use_new_ops or not self._leaders.replicas(_ANY_SHARD)

    def stops(self, write: Write) -> bool:
        """Whether such a command is not sent now: it is held or refused here."""
        if self._host.may_use_new_ops:
            return False
        if self.may_begin():
            write.owner.hold(write, NO_LEADER)
        else:
            write.finish(Failure(NEEDS_UPGRADE, outcome_known=True))
        return True
