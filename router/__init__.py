"""QuorumCache's client library: routes every request to the leader of its key's shard.

Read arguments.py (what callers hand in), codec.py, levels.py and requests.py (bytes), routing.py
and retry.py (decisions), connection.py, pool.py and forks.py (sockets), sessions.py (exactly once),
discovery.py and map_keeper.py (the map), attempts.py, dispatcher.py and batches.py (a request's
life), client.py (the verbs), and overview.py, report.py, cli_words.py and cli.py (the command
line), in this order.
"""

from quorumcache.router.client import AsyncClient, CasResult, Item
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import (
    BadReply,
    ClientClosed,
    ClusterUnreachable,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    InvalidArgument,
    InvalidKey,
    InvalidRequest,
    Moved,
    NodeBusy,
    NotACluster,
    NotANumber,
    NotDone,
    NotSent,
    OutcomeUnknown,
    OutOfMemory,
    PartialFailure,
    Refused,
    ReplyTimeout,
    RouterError,
    SessionForgotten,
    SessionGone,
    ValueTooLarge,
    WrongCluster,
    WrongEventLoop,
)
from quorumcache.router.levels import Bounded, Linearizable, Local, ReadLevel
from quorumcache.router.overview import Overview
from quorumcache.router.routing import Route

__all__ = [
    "AsyncClient",
    "BadReply",
    "Bounded",
    "CasResult",
    "ClientClosed",
    "ClientConfig",
    "ClusterUnreachable",
    "ConnectFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "InvalidArgument",
    "InvalidKey",
    "InvalidRequest",
    "Item",
    "Linearizable",
    "Local",
    "Moved",
    "NodeBusy",
    "NotACluster",
    "NotANumber",
    "NotDone",
    "NotSent",
    "OutOfMemory",
    "OutcomeUnknown",
    "Overview",
    "PartialFailure",
    "ReadLevel",
    "Refused",
    "ReplyTimeout",
    "Route",
    "RouterError",
    "SessionForgotten",
    "SessionGone",
    "ValueTooLarge",
    "WrongCluster",
    "WrongEventLoop",
]
