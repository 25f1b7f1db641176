"""Lines of those who look after a server: `watch`, `lru_crawler`, `lru`, `slabs`, `verbosity`,
`cache_memlimit`, `shutdown`.

The answers follow memcached 1.6.45. There are no slabs, no LRU segments and no crawler here, so
what tunes those is answered as by a memcached that runs without them: well-formed numbers are
accepted and have no effect, and what needs the missing part is refused. Only the two dumps of
`lru_crawler`, which need no crawler here, are carried out. Each line is silent when its last word
is `noreply`, errors included. Of the sub-words memcached also accepts any beginning ("met" for
"metadump"): a defect, not copied.
"""

import re
from collections.abc import Callable
from typing import Final

from quorumcache.node.protocol.numbers import unsigned32
from quorumcache.node.protocol.requests import (
    ITEM_CLASS,
    SLAB_CLASS_MAX,
    CacheMemlimit,
    KeyDump,
    Request,
    Shutdown,
    Verbosity,
    Watch,
)
from quorumcache.node.protocol.responses import BAD_FORMAT_LINE, ERROR_LINE, OK_LINE
from quorumcache.node.protocol.words import NOREPLY, answer

FETCHERS: Final = 1
MUTATIONS: Final = 2
EVICTIONS: Final = 4
CONNEVENTS: Final = 8
DELETIONS: Final = 16
"""Bits of `Watch.kinds`: what a watcher wants to see."""

WATCHED_KINDS: Final[dict[bytes, int]] = {
    b"fetchers": FETCHERS,
    b"mutations": MUTATIONS,
    b"evictions": EVICTIONS,
    b"connevents": CONNEVENTS,
    b"deletions": DELETIONS,
    # Known to memcached, and never logged here.
    b"rawcmds": 0,
    b"sysevents": 0,
    b"proxyreqs": 0,
    b"proxyevents": 0,
    b"proxyuser": 0,
}

MEGABYTES_MIN: Final = 8
MEGABYTES_MAX: Final = 1_000_000_000
SLEEP_US_MAX: Final = 1_000_000
LRU_PERCENT_MAX: Final = 80

MEMLIMIT_TOO_SMALL_LINE: Final = b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
MEMLIMIT_NOT_BYTES_LINE: Final = b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
MEMLIMIT_FAILED_LINE: Final = b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"
SHUTDOWN_MODE_LINE: Final = b"CLIENT_ERROR invalid shutdown mode\r\n"
REASSIGN_LINE: Final = b"CLIENT_ERROR slab reassignment disabled\r\n"
NO_CRAWLER_LINE: Final = b"CLIENT_ERROR lru crawler disabled\r\n"
CRAWLER_START_LINE: Final = b"ERROR failed to start lru crawler thread\r\n"
BAD_CLASS_LINE: Final = b"BADCLASS invalid class id\r\n"
NO_CLASS_LINE: Final = b"NOTSTARTED no items to crawl\r\n"
SLEEP_LINE: Final = b"CLIENT_ERROR sleep must be one second or less\r\n"
LRU_PERCENT_LINE: Final = b"ERROR hot and warm pcts must not exceed 80\r\n"
LRU_FACTOR_LINE: Final = b"ERROR hot/warm age factors must be greater than 0\r\n"
BUSY_LINE: Final = b"BUSY currently processing crawler request\r\n"
NO_WATCH_LINE: Final = b"CLIENT_ERROR watch commands not allowed\r\n"
NO_METADUMP_LINE: Final = b"ERROR metadump not allowed\r\n"
NO_MGDUMP_LINE: Final = b"ERROR key dump not allowed\r\n"
TOO_MANY_WATCHERS_LINE: Final = b"WATCHER_TOO_MANY log watcher limit reached\r\n"

_factor = re.compile(rb"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})").fullmatch
"""A factor as people write it. `strtod` also takes exponents, hexadecimal digits and words."""


def _watch(words: list[bytes]) -> Request:
    kinds = 0
    for word in words[1:]:
        kind = WATCHED_KINDS.get(word)
        if kind is None:
            return answer(ERROR_LINE, words[-1] == NOREPLY)
        kinds |= kind
    return Watch(kinds if len(words) > 1 else FETCHERS)


def _lru_crawler(words: list[bytes]) -> Request:
    noreply = words[-1] == NOREPLY
    word = words[1] if len(words) > 1 else b""
    reply = ERROR_LINE
    if len(words) == 3:
        if word in (b"metadump", b"mgdump"):
            dump = _dump(word == b"mgdump", words[2])
            return answer(dump, noreply) if isinstance(dump, bytes) else dump
        if word == b"crawl":
            reply = NO_CRAWLER_LINE
        elif word in (b"sleep", b"tocrawl"):
            number = unsigned32(words[2])
            if number is None:
                reply = BAD_FORMAT_LINE
            elif word == b"sleep" and number > SLEEP_US_MAX:
                reply = SLEEP_LINE
            else:
                reply = OK_LINE
    elif len(words) == 2:
        if word == b"enable":
            reply = CRAWLER_START_LINE
        elif word == b"disable":
            reply = OK_LINE
    return answer(reply, noreply)


def _dump(is_meta: bool, classes: bytes) -> KeyDump | bytes:
    """`all`, `hash`, or numbers of slab classes with commas between them: the dump, or the error
    line.
    """
    if classes in (b"all", b"hash"):
        return KeyDump(is_meta, True)
    named = [word for word in classes.split(b",") if word]
    if not named:
        return NO_CLASS_LINE
    has_items = False
    for word in named:
        number = unsigned32(word)
        if number is None or not 1 <= number <= SLAB_CLASS_MAX:
            return BAD_CLASS_LINE
        has_items = has_items or number == ITEM_CLASS
    return KeyDump(is_meta, has_items)


def _lru(words: list[bytes]) -> Request:
    noreply = words[-1] == NOREPLY
    # `mode` and `temp_ttl` need the maintainer of the LRU segments.
    if len(words) < 6 or words[1] != b"tune":
        return answer(ERROR_LINE, noreply)
    hot, warm = unsigned32(words[2]), unsigned32(words[3])
    if hot is None or warm is None or not (_factor(words[4]) and _factor(words[5])):
        return answer(ERROR_LINE, noreply)
    if hot + warm > LRU_PERCENT_MAX:
        return answer(LRU_PERCENT_LINE, noreply)
    if float(words[4]) <= 0 or float(words[5]) <= 0:
        return answer(LRU_FACTOR_LINE, noreply)
    return answer(OK_LINE, noreply)


def _slabs(words: list[bytes]) -> Request:
    noreply = words[-1] == NOREPLY
    word = words[1] if len(words) > 1 else b""
    if len(words) == 4 and word == b"reassign":
        return answer(REASSIGN_LINE, noreply)
    if len(words) < 3 or word != b"automove":
        return answer(ERROR_LINE, noreply)
    if words[2] in (b"ratio", b"freeratio"):
        is_right = len(words) > 3 and _factor(words[3]) is not None
        return answer(OK_LINE if is_right else ERROR_LINE, noreply)
    if words[2] == b"window":
        is_right = len(words) > 3 and unsigned32(words[3]) is not None
        return answer(OK_LINE if is_right else BAD_FORMAT_LINE, noreply)
    level = unsigned32(words[2])
    if level is None:
        return answer(BAD_FORMAT_LINE, noreply)
    return answer(OK_LINE if level <= 2 else ERROR_LINE, noreply)


def _verbosity(words: list[bytes]) -> Request:
    noreply = words[-1] == NOREPLY
    level = unsigned32(words[1]) if len(words) > 1 else None
    return answer(BAD_FORMAT_LINE, noreply) if level is None else Verbosity(level, noreply)


def _cache_memlimit(words: list[bytes]) -> Request:
    noreply = words[-1] == NOREPLY
    megabytes = unsigned32(words[1]) if len(words) > 1 else None
    if megabytes is None:
        return answer(ERROR_LINE, noreply)
    if megabytes < MEGABYTES_MIN:
        return answer(MEMLIMIT_TOO_SMALL_LINE, noreply)
    if megabytes > MEGABYTES_MAX:
        return answer(MEMLIMIT_NOT_BYTES_LINE, noreply)
    return CacheMemlimit(megabytes, noreply)


def _shutdown(words: list[bytes]) -> Request:
    is_known = len(words) == 1 or (len(words) == 2 and words[1] == b"graceful")
    return Shutdown(is_known, words[-1] == NOREPLY)


ADMIN_PARSERS: Final[dict[bytes, Callable[[list[bytes]], Request]]] = {
    b"watch": _watch,
    b"lru_crawler": _lru_crawler,
    b"lru": _lru,
    b"slabs": _slabs,
    b"verbosity": _verbosity,
    b"cache_memlimit": _cache_memlimit,
    b"shutdown": _shutdown,
}
"""By the first word of the line, which is the first of the words handed over."""
