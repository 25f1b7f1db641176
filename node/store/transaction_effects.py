"""What the steps of transactions do with the state of a shard (`transactions.py`)."""

from quorumcache.node.state_machine import Command, Result
from quorumcache.node.store.state import ShardState


def txn_prepare(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_PREPARE."""
    raise NotImplementedError


def txn_commit(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_COMMIT."""
    raise NotImplementedError


def txn_abort(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_ABORT."""
    raise NotImplementedError


def txn_resolve(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_RESOLVE."""
    raise NotImplementedError


def txn_forget(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_FORGET."""
    raise NotImplementedError
