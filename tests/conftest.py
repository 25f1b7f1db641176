"""For all tests: which form of the node's data path they run, and logging that stays as it was.

Tests replace parts and look inside, which only the Python sources allow. `make test` runs those
that drive whole nodes a second time with QUORUMCACHE_COMPILED=1. Child processes inherit it.
"""

import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair.
settings.register_profile("quorumcache", deadline=None)
settings.load_profile("quorumcache")

# Started under nohup, or in the background of a shell, the tests would hand ignored signals down to
# every node.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("QUORUMCACHE_COMPILED", "0")

LOGGERS = [logging.getLogger(name) for name in ("quorumcache", "asyncio", "uvloop")]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What a test configures as a node's process does would be there for all that follow it."""
    before = [(one.handlers[:], one.level, one.propagate) for one in LOGGERS]
    yield
    for one, (handlers, level, propagate) in zip(LOGGERS, before, strict=True):
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate
