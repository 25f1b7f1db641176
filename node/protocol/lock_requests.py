"""What a client may ask of locks and fences, as `requests.py` has it for everything else."""

from typing import NamedTuple


class LockAcquire(NamedTuple):
    """`cluster lock acquire`."""

    name: bytes
    owner: bytes
    ttl_ms: int
    wait_ms: int
    """0: the lock now, or not at all."""
    kind: int
    """The argument `kind` of OP_LOCK_ACQUIRE."""
    limit: int
    """Permits of a semaphore, parties of a barrier; otherwise 0."""


class LockRenew(NamedTuple):
    """`cluster lock renew`."""

    name: bytes
    owner: bytes
    token: int
    ttl_ms: int


class LockRelease(NamedTuple):
    """`cluster lock release`."""

    name: bytes
    owner: bytes
    token: int
    """0: whatever the owner holds; its place in the queue, too."""


class LockShow(NamedTuple):
    """`cluster lock show`."""

    name: bytes


class Fence(NamedTuple):
    """`cluster fence`: the lock and the token under which the next command is to run. As with
    `Once`, what is wrong with it is the reply of that command, which is not executed.
    """

    lock: bytes
    token: int
    error: bytes
    """Empty when all is well; otherwise the others are empty."""
