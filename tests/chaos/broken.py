"""A node with one rule of the product broken, to see that chaos finds it:

    python -m tests.chaos.broken lease --name a ...     # the flags of quorumcached

Only the sources can be broken, so it runs them whether there is a compiled form or not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def break_lease() -> None:
    """A leader answers reads as long as it believes that it leads, lease or not."""
    from quorumcache.node.replica.group import ReplicaGroup

    ReplicaGroup.has_lease = lambda self: self.is_leader  # type: ignore[method-assign]


def break_sessions() -> None:
    """A write that is repeated at the next leader is executed twice."""
    from quorumcache.node.operations.operation import Write

    command = Write.command
    Write.command = lambda self: (0, 0, 0, *command(self)[3:])  # type: ignore[method-assign]


def break_moves() -> None:
    """A move counts as complete as soon as it has started: nodes drop replicas that still vote."""
    from quorumcache.ring import moves
    from quorumcache.ring.move import WAITING

    moves.is_complete = lambda move, report: move.decided != WAITING


RULES: dict[str, Callable[[], None]] = {
    "lease": break_lease,
    "sessions": break_sessions,
    "moves": break_moves,
}


def main() -> int:
    os.environ["QUORUMCACHE_COMPILED"] = "0"
    RULES[sys.argv[1]]()
    from quorumcache.node.__main__ import main as run

    return run(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
