"""Lines of those who look after a server: each answer is that of memcached 1.6.45.

What memcached answers depends on which of its parts run. There are none of them here, so the
answers are those of one without a crawler, a maintainer and slabs that move; where 1.6.18 answers
the same with all of them, the test against a real one (tests/conformance) has the line.
"""

import pytest

from quorumcache.node.protocol.admin_lines import (
    CONNEVENTS,
    DELETIONS,
    EVICTIONS,
    FETCHERS,
    MUTATIONS,
)
from quorumcache.node.protocol.lines import parse_line
from quorumcache.node.protocol.requests import (
    CacheMemlimit,
    Immediate,
    KeyDump,
    Request,
    Shutdown,
    Verbosity,
    Watch,
)
from quorumcache.node.protocol.words import SILENCE

BAD = b"CLIENT_ERROR bad command line format\r\n"
ERROR = b"ERROR\r\n"
OK = b"OK\r\n"


def parsed(line: bytes) -> Request:
    return parse_line(line, len(line) + 2)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"watch", Watch(FETCHERS)),
        (b"watch fetchers", Watch(FETCHERS)),
        (b"watch mutations evictions", Watch(MUTATIONS | EVICTIONS)),
        (b"watch connevents deletions", Watch(CONNEVENTS | DELETIONS)),
        # Known, and never logged here.
        (b"watch rawcmds sysevents proxyreqs proxyevents proxyuser", Watch(0)),
        (b"lru_crawler metadump all", KeyDump(False, True)),
        (b"lru_crawler metadump hash", KeyDump(False, True)),
        (b"lru_crawler mgdump all", KeyDump(True, True)),
        (b"lru_crawler mgdump hash", KeyDump(True, True)),
        (b"lru_crawler metadump 1", KeyDump(False, True)),
        (b"lru_crawler metadump 7,1", KeyDump(False, True)),
        (b"lru_crawler metadump 63", KeyDump(False, False)),
        (b"lru_crawler mgdump 2,3", KeyDump(True, False)),
        (b"verbosity 0", Verbosity(0, False)),
        (b"verbosity 4294967295", Verbosity((1 << 32) - 1, False)),
        (b"verbosity 1 noreply", Verbosity(1, True)),
        (b"verbosity 0 foo", Verbosity(0, False)),
        (b"cache_memlimit 8", CacheMemlimit(8, False)),
        (b"cache_memlimit 64 foo", CacheMemlimit(64, False)),
        (b"cache_memlimit 64 noreply", CacheMemlimit(64, True)),
        (b"cache_memlimit 1000000000", CacheMemlimit(1_000_000_000, False)),
        (b"shutdown", Shutdown(True, False)),
        (b"shutdown graceful", Shutdown(True, False)),
        (b"shutdown now", Shutdown(False, False)),
        (b"shutdown graceful now", Shutdown(False, False)),
        (b"shutdown noreply", Shutdown(False, True)),
    ],
)
def test_requests(line: bytes, request_: Request) -> None:
    assert parsed(line) == request_


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"watch foo", ERROR),
        (b"watch fetchers foo", ERROR),
        (b"watch Fetchers", ERROR),
        (b"lru_crawler", ERROR),
        (b"lru_crawler foo", ERROR),
        (b"lru_crawler metadump", ERROR),
        (b"lru_crawler metadump all hash", ERROR),
        (b"lru_crawler metadump foo", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler metadump 0", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler metadump 64", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler metadump 1,x", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler metadump all,1", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler mgdump -1", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler mgdump 99999999999999999999", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler metadump ,", b"NOTSTARTED no items to crawl\r\n"),
        (b"lru_crawler enable", b"ERROR failed to start lru crawler thread\r\n"),
        (b"lru_crawler disable", OK),
        (b"lru_crawler enable x", ERROR),
        (b"lru_crawler crawl", ERROR),
        (b"lru_crawler crawl 1", b"CLIENT_ERROR lru crawler disabled\r\n"),
        (b"lru_crawler crawl foo", b"CLIENT_ERROR lru crawler disabled\r\n"),
        (b"lru_crawler sleep", ERROR),
        (b"lru_crawler sleep 0", OK),
        (b"lru_crawler sleep 1000000", OK),
        (b"lru_crawler sleep 1000001", b"CLIENT_ERROR sleep must be one second or less\r\n"),
        (b"lru_crawler sleep x", BAD),
        (b"lru_crawler tocrawl 5", OK),
        (b"lru_crawler tocrawl", ERROR),
        (b"lru_crawler tocrawl x", BAD),
        (b"lru", ERROR),
        (b"lru foo", ERROR),
        (b"lru mode", ERROR),
        (b"lru mode flat", ERROR),
        (b"lru temp_ttl 60", ERROR),
        (b"lru tune 10", ERROR),
        (b"lru tune 10 20 0.2 2", OK),
        (b"lru tune 0 80 .5 2.", OK),
        (b"lru tune 60 60 0.2 2", b"ERROR hot and warm pcts must not exceed 80\r\n"),
        (b"lru tune 10 20 0 2", b"ERROR hot/warm age factors must be greater than 0\r\n"),
        (b"lru tune 10 20 1 -2", b"ERROR hot/warm age factors must be greater than 0\r\n"),
        (b"lru tune a b c d", ERROR),
        (b"lru tune 10 20 nan inf", ERROR),
        (b"slabs", ERROR),
        (b"slabs foo", ERROR),
        (b"slabs reassign 1", ERROR),
        (b"slabs reassign 1 2 3", ERROR),
        (b"slabs reassign 1 2", b"CLIENT_ERROR slab reassignment disabled\r\n"),
        (b"slabs reassign x 2", b"CLIENT_ERROR slab reassignment disabled\r\n"),
        (b"slabs automove", ERROR),
        (b"slabs automove 0", OK),
        (b"slabs automove 2", OK),
        (b"slabs automove 3", ERROR),
        (b"slabs automove x", BAD),
        (b"slabs automove ratio 0.5", OK),
        (b"slabs automove freeratio", ERROR),
        (b"slabs automove freeratio x", ERROR),
        (b"slabs automove window 5", OK),
        (b"slabs automove window x", BAD),
        (b"verbosity", BAD),
        (b"verbosity x", BAD),
        (b"verbosity -1", BAD),
        (b"cache_memlimit", ERROR),
        (b"cache_memlimit x", ERROR),
        (b"cache_memlimit -5", ERROR),
        (b"cache_memlimit 4294967296", ERROR),
        (b"cache_memlimit 7", b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"),
        (b"cache_memlimit 0", b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"),
        (
            b"cache_memlimit 1000000001",
            b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
        ),
    ],
)
def test_finished_replies(line: bytes, reply: bytes) -> None:
    assert parsed(line) == Immediate(reply)


@pytest.mark.parametrize(
    "line",
    [
        b"watch foo noreply",
        b"lru_crawler enable noreply",
        b"lru_crawler metadump noreply",
        b"lru_crawler tocrawl noreply",
        b"lru noreply",
        b"lru tune 60 60 1 1 noreply",
        b"slabs noreply",
        b"slabs reassign 1 noreply",
        b"slabs automove noreply",
        b"slabs automove 1 noreply",
        b"verbosity noreply",
        b"verbosity x noreply",
        b"cache_memlimit noreply",
        b"cache_memlimit 7 noreply",
    ],
)
def test_noreply_hides_the_reply_errors_included(line: bytes) -> None:
    assert parsed(line) == SILENCE
