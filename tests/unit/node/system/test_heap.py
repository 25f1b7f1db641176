"""Goal: what was freed goes back to the system. In a process of its own: it counts pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from quorumcache.node.system.heap import GLIBC, give_back_free_memory

PROGRAM = """
from quorumcache.node.system.heap import give_back_free_memory
from tests.support.fill_store import rss_bytes

blocks = [bytes(16_000) for _ in range(2000)]
kept = blocks[::50]
full = rss_bytes()
del blocks
give_back_free_memory()
print(full - rss_bytes())
"""


@pytest.mark.skipif(not GLIBC, reason="this C library gives memory back by itself")
def test_what_lies_free_between_blocks_in_use_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) > 24 << 20, "of 32 MB, of which 640 kB are in use"


SMALL_PROGRAM = """
from quorumcache.node.system.heap import give_back_free_memory
from tests.support.fill_store import rss_bytes

small = [bytes(170) for _ in range(200)]
entries, payloads = [], []
for number in range(150_000):
    entries.append(tuple([number] * 4))
    payloads.append(bytes(170))
full = rss_bytes()
del entries[::100]
del entries, payloads
kept = rss_bytes()
give_back_free_memory()
print(full - kept, full - rss_bytes())
"""


def test_tuples_that_are_kept_for_later_keep_no_arenas() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    at_once, asked = map(int, done.stdout.split())
    assert asked > 36 << 20, "of 46 MB, all of them free"
    assert at_once < asked, "some of it CPython had kept"


def test_it_may_be_asked_for_anywhere() -> None:
    give_back_free_memory()
