"""QuorumCache: a sharded, replicated, linearizable cache cluster that speaks memcached.

Applications import the client from here: `from quorumcache import AsyncClient`. The parts:
`quorumcache.ring` (where a key lives), `quorumcache.node` (the server), `quorumcache.router` (the
client library, which lists the names) and `quorumcache.bench` (the benchmark).

The names are loaded when they are first asked for: a node imports this package, too, and needs no
client.
"""

from __future__ import annotations

TYPE_CHECKING = False  # As in `typing`: commands load this before they are ready for Ctrl-C.
if TYPE_CHECKING:
    from quorumcache.router import *  # noqa: F403

    __version__: str
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__version__":
            return import_module("quorumcache.node.version").VERSION
        if name == "__all__" or not name.startswith("__"):
            router = import_module("quorumcache.router")
            if name == "__all__" or name in router.__all__:
                return getattr(router, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        from importlib import import_module

        names = import_module("quorumcache.router").__all__
        return sorted({*names, "__all__", "__doc__", "__name__", "__version__"})
