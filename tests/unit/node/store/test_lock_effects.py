"""`lock_effects.py`."""

from quorumcache.node.store.commands import (
    COMMANDS,
    OP_LOCK_ACQUIRE,
    OP_LOCK_EXPIRE,
    OP_LOCK_RELEASE,
    OP_LOCK_RENEW,
)
from quorumcache.node.store.effects import EFFECTS
from quorumcache.node.store.lock_effects import (
    lock_acquire,
    lock_expire,
    lock_release,
    lock_renew,
)


def test_each_command_has_its_effect() -> None:
    assert EFFECTS[OP_LOCK_ACQUIRE] is lock_acquire
    assert EFFECTS[OP_LOCK_RENEW] is lock_renew
    assert EFFECTS[OP_LOCK_RELEASE] is lock_release
    assert EFFECTS[OP_LOCK_EXPIRE] is lock_expire
    assert COMMANDS[OP_LOCK_EXPIRE].by_leader
