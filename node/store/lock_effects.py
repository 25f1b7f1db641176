"""What the commands of locks do with the state of a shard (`locks.py`)."""

from quorumcache.node.state_machine import Command, Result
from quorumcache.node.store.state import ShardState


def lock_acquire(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_ACQUIRE."""
    raise NotImplementedError


def lock_renew(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_RENEW."""
    raise NotImplementedError


def lock_release(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_RELEASE."""
    raise NotImplementedError


def lock_expire(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_EXPIRE."""
    raise NotImplementedError
