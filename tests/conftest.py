"""For all tests: which form of the node's data path they run.

Tests replace parts and look inside, which only the Python sources allow. `make test` runs those
that drive whole nodes a second time with QUORUMCACHE_COMPILED=1. Child processes inherit it.
"""

import os
import signal

from hypothesis import settings

# How long an example takes is the machine's affair.
settings.register_profile("quorumcache", deadline=None)
settings.load_profile("quorumcache")

# Started under nohup, or in the background of a shell, the tests would hand ignored signals down to
# every node.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("QUORUMCACHE_COMPILED", "0")
