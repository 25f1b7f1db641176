"""QuorumCache's client library: routes every request to the leader of its key's shard.

Read in this order: errors.py, levels.py, arguments.py and config.py (what callers hand in),
codec.py (bytes), retry.py, error_lines.py, requests.py, transaction_requests.py, identities.py and
transaction_draft.py (what they mean), routing.py (decisions), connection.py, pool.py, wait_pool.py
and forks.py (sockets), sessions.py (exactly once), attempts.py, discovery.py and map_keeper.py (the
map), dispatcher.py and batches.py (a request's life), fencing.py, leases.py, wait_turns.py,
lock_requests.py, lock_keeper.py, locks.py, lock_kinds.py, barrier.py, election.py and lock_calls.py
(locks), transactions.py, transaction_calls.py, overview.py, admin.py, cluster_calls.py and
client.py (the verbs), and streams.py, report.py, the commands in commands/ and cli.py (the command
line). Each imports only what stands before it.
"""

from quorumcache.router.barrier import Barrier
from quorumcache.router.client import AsyncClient, CasResult, Item
from quorumcache.router.config import ClientConfig
from quorumcache.router.election import Campaign, Leader
from quorumcache.router.errors import (
    BadReply,
    ClientClosed,
    ClusterUnreachable,
    ConditionFailed,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    FenceOfAnotherLock,
    InvalidArgument,
    InvalidKey,
    InvalidRequest,
    LockInUse,
    LockLost,
    LockNotHeld,
    LockOfAnotherKind,
    LockTimeout,
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
    StaleFence,
    TransactionEnded,
    TransactionTooLarge,
    TransactionTooLong,
    ValueTooLarge,
    WrongCluster,
    WrongEventLoop,
)
from quorumcache.router.fencing import FencingToken
from quorumcache.router.levels import Bounded, Linearizable, Local, ReadLevel
from quorumcache.router.lock_kinds import ReadWriteLock, Semaphore
from quorumcache.router.lock_requests import LockHolder, LockState, LockWaiter
from quorumcache.router.locks import Lock
from quorumcache.router.overview import Overview
from quorumcache.router.routing import Route
from quorumcache.router.transactions import Transaction

__all__ = [
    "AsyncClient",
    "BadReply",
    "Barrier",
    "Bounded",
    "Campaign",
    "CasResult",
    "ClientClosed",
    "ClientConfig",
    "ClusterUnreachable",
    "ConditionFailed",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "FenceOfAnotherLock",
    "FencingToken",
    "InvalidArgument",
    "InvalidKey",
    "InvalidRequest",
    "Item",
    "Leader",
    "Linearizable",
    "Local",
    "Lock",
    "LockHolder",
    "LockInUse",
    "LockLost",
    "LockNotHeld",
    "LockOfAnotherKind",
    "LockState",
    "LockTimeout",
    "LockWaiter",
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
    "ReadWriteLock",
    "Refused",
    "ReplyTimeout",
    "Route",
    "RouterError",
    "Semaphore",
    "SessionForgotten",
    "SessionGone",
    "StaleFence",
    "Transaction",
    "TransactionEnded",
    "TransactionTooLarge",
    "TransactionTooLong",
    "ValueTooLarge",
    "WrongCluster",
    "WrongEventLoop",
]
