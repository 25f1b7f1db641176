"""Where the commands begin: `quorumcached`, `quorumcache`, `quorumcache-bench`.

Their modules take some tenths of a second to load. Ctrl-C ends a command then as it does later:
without a word and with status 130. So this module loads next to nothing before it listens.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

INTERRUPTED = 130


def quorumcached() -> int:
    """A node, or with `up` a local cluster. Returns the exit status, as the others do."""

    def load() -> Callable[[], int]:
        from quorumcache.node.__main__ import main

        return main

    return _run(load)


def quorumcache() -> int:
    """Single operations, and a look at the cluster."""

    def load() -> Callable[[], int]:
        from quorumcache.router.cli import main

        return main

    return _run(load)


def quorumcache_bench() -> int:
    """Measurements."""

    def load() -> Callable[[], int]:
        from quorumcache.bench.__main__ import main

        return main

    return _run(load)


def _run(load: Callable[[], Callable[[], int]]) -> int:
    """Load a command and run it. Outside of its `main` there is nothing to clean up."""
    heard = signal.getsignal(signal.SIGINT)
    if not callable(heard):  # A shell without job control has started it in the background.
        return load()()
    signal.signal(signal.SIGINT, _end)
    main = load()
    try:
        signal.signal(signal.SIGINT, heard)
        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, _end)  # Python takes its time to end.


def _end(number: int, frame: object) -> None:
    """At once, and not by an exception: that of an interrupted import may be printed, or lost."""
    os._exit(INTERRUPTED)
