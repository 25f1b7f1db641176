"""QuorumCache's client library: routes every request to the leader of its key's shard.

Read in this order: errors.py, levels.py, arguments.py and config.py (what callers hand in),
codec.py (bytes), retry.py, requests.py, transaction_requests.py and transaction_draft.py (what they
mean), routing.py (decisions), connection.py, pool.py and forks.py (sockets), sessions.py (exactly
once), attempts.py, discovery.py and map_keeper.py (the map), dispatcher.py and batches.py (a
request's life), transactions.py, overview.py, admin.py and client.py (the verbs), and streams.py,
report.py, the commands in commands/ and cli.py (the command line). Each imports only what stands
before it.
"""

from quorumcache.router.client import AsyncClient, CasResult, Item
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import (
    BadReply,
    ClientClosed,
    ClusterUnreachable,
    ConditionFailed,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    InvalidArgument,
    InvalidKey,
    InvalidRequest,
    Moved,
    NestedTransaction,
    NodeBusy,
    NotACluster,
    NotANumber,
    NotDone,
    NotSent,
    OutcomeUnknown,
    OutOfMemory,
    PartialFailure,
    PasswordNeeded,
    Refused,
    ReplyTimeout,
    RouterError,
    SessionForgotten,
    SessionGone,
    TransactionEnded,
    TransactionTooLarge,
    TransactionTooLong,
    ValueTooLarge,
    WrongCluster,
    WrongEventLoop,
)
from quorumcache.router.levels import Bounded, Linearizable, Local, ReadLevel
from quorumcache.router.overview import Overview
from quorumcache.router.routing import Route
from quorumcache.router.transactions import Transaction

__all__ = [
    "AsyncClient",
    "BadReply",
    "Bounded",
    "CasResult",
    "ClientClosed",
    "ClientConfig",
    "ClusterUnreachable",
    "ConditionFailed",
    "Conflict",
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
    "NestedTransaction",
    "NodeBusy",
    "NotACluster",
    "NotANumber",
    "NotDone",
    "NotSent",
    "OutOfMemory",
    "OutcomeUnknown",
    "Overview",
    "PartialFailure",
    "PasswordNeeded",
    "ReadLevel",
    "Refused",
    "ReplyTimeout",
    "Route",
    "RouterError",
    "SessionForgotten",
    "SessionGone",
    "Transaction",
    "TransactionEnded",
    "TransactionTooLarge",
    "TransactionTooLong",
    "ValueTooLarge",
    "WrongCluster",
    "WrongEventLoop",
]
