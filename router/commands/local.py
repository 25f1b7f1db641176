"""Commands for a cluster that `quorumcached up` runs on this machine: rolling-restart.

They ask that process, and need no node.
"""

from __future__ import annotations

import argparse

from quorumcache.ring.local_control import ControlError, ask
from quorumcache.router.commands.basics import MISS, OK, UNREACHABLE, Failure, say


def rolling_restart(options: argparse.Namespace) -> int:
    """Restart all nodes, one after another."""
    try:
        answer = ask(
            options.data_dir, {"do": "rolling-restart"}, lambda line: print(line, flush=True)
        )
    except ControlError as error:
        raise Failure(UNREACHABLE, str(error)) from error
    except KeyboardInterrupt:
        say("it ends after the node that is being restarted now")
        raise
    if answer["code"] != OK:
        raise Failure(MISS, str(answer.get("error", "not all nodes were restarted, see above")))
    print("done: all nodes were restarted")
    return OK
