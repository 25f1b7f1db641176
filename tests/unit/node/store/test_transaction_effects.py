"""`transaction_effects.py`."""

from quorumcache.node.store.commands import (
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.effects import EFFECTS
from quorumcache.node.store.transaction_effects import (
    txn_abort,
    txn_commit,
    txn_forget,
    txn_prepare,
    txn_resolve,
)


def test_each_step_has_its_effect() -> None:
    assert EFFECTS[OP_TXN_PREPARE] is txn_prepare
    assert EFFECTS[OP_TXN_COMMIT] is txn_commit
    assert EFFECTS[OP_TXN_ABORT] is txn_abort
    assert EFFECTS[OP_TXN_RESOLVE] is txn_resolve
    assert EFFECTS[OP_TXN_FORGET] is txn_forget
