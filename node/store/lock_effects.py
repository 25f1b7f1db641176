"""What the commands of locks do with the state of a shard (`locks.py`).

OP_FENCED runs another command, so it stands beside those (`effects.py`).
"""

from quorumcache.node.state_machine import KEY, Command, Result
from quorumcache.node.store.commands import (
    ACQUIRE_KIND,
    ACQUIRE_LIMIT,
    ACQUIRE_QUEUES,
    ACQUIRE_TTL_MS,
    EXPIRE_LOCKS,
    LOCK_OWNER,
    LOCK_TOKEN,
    RENEW_TTL_MS,
)
from quorumcache.node.store.results import NUMBER
from quorumcache.node.store.state import ShardState


def lock_acquire(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_ACQUIRE."""
    return state.locks.acquire(
        command[KEY],
        command[LOCK_OWNER],
        command[ACQUIRE_TTL_MS],
        command[ACQUIRE_KIND],
        command[ACQUIRE_LIMIT],
        bool(command[ACQUIRE_QUEUES]),
        now_ms,
    )


def lock_renew(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_RENEW."""
    return state.locks.renew(
        command[KEY], command[LOCK_OWNER], command[LOCK_TOKEN], command[RENEW_TTL_MS], now_ms
    )


def lock_release(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_RELEASE."""
    return state.locks.release(command[KEY], command[LOCK_OWNER], command[LOCK_TOKEN], now_ms)


def lock_expire(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_LOCK_EXPIRE. Answers how many leases it ended."""
    ended = 0
    for name in command[EXPIRE_LOCKS]:
        ended += state.locks.expire(name, now_ms)
    return NUMBER, ended
