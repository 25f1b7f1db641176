"""What the lines mean that come in place of the reply that was asked for. Pure.

A node may answer any request with an error, or with the word that another node leads the shard.
"""

from __future__ import annotations

from typing import Final, NoReturn

from quorumcache.router.codec import Line, Reply
from quorumcache.router.errors import (
    BadReply,
    FenceOfAnotherLock,
    LockOfAnotherKind,
    Moved,
    NodeBusy,
    NotANumber,
    NotDone,
    OutcomeUnknown,
    OutOfMemory,
    Refused,
    SessionForgotten,
    SessionGone,
    StaleFence,
    ValueTooLarge,
)

_NOT_DONE: Final = b"SERVER_ERROR not done"
_UNKNOWN: Final = b"SERVER_ERROR outcome unknown"
_SESSION: Final = (b"SERVER_ERROR session gone: ", b"SERVER_ERROR stale sequence: ")
_TOO_MANY: Final = b"ERROR Too many open connections"
_STALE_FENCE: Final = b"CLIENT_ERROR stale fence: "
_OTHER_LOCK: Final = b"CLIENT_ERROR fence of another lock: "
_OTHER_KIND: Final = b"CLIENT_ERROR lock of another kind: "
_NON_NUMERIC: Final = b"cannot increment or decrement non-numeric value"


def text_of(line: bytes) -> str:
    """What a node said, as text, whatever its bytes are."""
    return line.decode("utf-8", "replace")


def _why(line: bytes) -> str:
    """What stands after the first colon of an error line, or all of it."""
    _, colon, why = line.partition(b": ")
    return text_of(why if colon else line)


def unexpected(reply: Reply) -> NoReturn:
    """Raise what a reply other than the expected ones means."""
    if not isinstance(reply, Line):
        raise BadReply(f"a {type(reply).__name__} reply to another kind of request")
    line = reply.text
    if line.startswith(b"MOVED "):
        raise _moved(line)
    if line.startswith(_NOT_DONE):
        raise NotDone(_why(line))
    if line.startswith(_UNKNOWN):
        raise OutcomeUnknown(_why(line))
    if line.startswith(_SESSION):
        if line.endswith(b": outcome unknown"):
            raise SessionGone(text_of(line.removeprefix(b"SERVER_ERROR ")))
        raise SessionForgotten(text_of(line.removeprefix(b"SERVER_ERROR ")))
    if line.startswith(_TOO_MANY):
        raise NodeBusy("the node")
    if line.startswith(b"SERVER_ERROR object too large"):
        raise ValueTooLarge("the value is over the cluster's item limit (1 MiB by default)")
    if line.startswith(b"SERVER_ERROR out of memory"):
        raise OutOfMemory("out of memory: the cluster has no room for the value")
    if line.startswith(b"CLIENT_ERROR ") and line.endswith(_NON_NUMERIC):
        raise NotANumber("the stored value is not an unsigned 64-bit decimal number")
    if line.startswith(_STALE_FENCE):
        newest = line.rpartition(b" ")[2]
        raise StaleFence(
            f"a newer holder of the lock was here: {_why(line)}",
            int(newest) if newest.isdigit() else 0,
        )
    if line.startswith(_OTHER_LOCK):
        raise FenceOfAnotherLock(f"the fence is of another lock: {_why(line)}")
    if line.startswith(_OTHER_KIND):
        raise LockOfAnotherKind(f"the lock is in use as another kind: {_why(line)}")
    if line.startswith((b"SERVER_ERROR ", b"CLIENT_ERROR ", b"ERROR")):
        raise Refused(f"the node refused the request: {text_of(line)}")
    raise BadReply(f"{text_of(line)[:60]!r} is no reply to this request")


def _moved(line: bytes) -> Moved | BadReply:
    words = line.split(b" ")
    numbers = words[1:4]
    if len(words) != 5 or not all(word.isdigit() for word in numbers):
        return BadReply(f"bad redirect {text_of(line)[:60]!r}")
    epoch, shard, leader_id = (int(word) for word in numbers)
    address = "" if words[4] == b"-" or not leader_id else text_of(words[4])
    return Moved(epoch, shard, leader_id, address)
