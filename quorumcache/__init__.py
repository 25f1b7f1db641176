"""QuorumCache: a sharded, replicated, linearizable cache cluster that speaks memcached.

Applications import the client from here: `from quorumcache import AsyncClient`. The parts:
`quorumcache.ring` (where a key lives), `quorumcache.node` (the server), `quorumcache.router` (the
client library) and `quorumcache.bench` (the benchmark).

The names are loaded when they are first asked for: a node imports this package, too, and needs no
client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from quorumcache.router import (
        AsyncClient,
        BadReply,
        Bounded,
        CasResult,
        ClientClosed,
        ClientConfig,
        ClusterUnreachable,
        ConnectFailed,
        ConnectionLost,
        DeadlineExceeded,
        InvalidArgument,
        InvalidKey,
        InvalidRequest,
        Item,
        Linearizable,
        Local,
        Moved,
        NodeBusy,
        NotACluster,
        NotANumber,
        NotDone,
        NotSent,
        OutcomeUnknown,
        OutOfMemory,
        Overview,
        PartialFailure,
        ReadLevel,
        Refused,
        ReplyTimeout,
        Route,
        RouterError,
        SessionForgotten,
        SessionGone,
        ValueTooLarge,
        WrongCluster,
        WrongEventLoop,
    )
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            return getattr(import_module("quorumcache.router"), name)
        if name == "__version__":
            return import_module("quorumcache.node.version").VERSION
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "__all__", "__doc__", "__name__", "__version__"})


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
