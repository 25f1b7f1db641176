"""The replicated cache of one shard: a deterministic state machine, pure.

Reading order: `commands` (what the log holds), `results` (what apply answers), `item` (one cached
value), `exptime` (what an exptime means), `arithmetic` (incr and decr), `tables` (dicts at their
size), `stamps`, `plain_item_table` and `item_table` (all items, each in its queue), `read_gate`
(who may read them at once), `expiry` (which end when), `ghosts`, `hot_keys` and `eviction_queue`
(which leave when memory is short), `sessions` (exactly once), `staging` (pieces of values to come),
`set_batches` (plain sets from their bytes), `lock_records`, `locks` and `fences` (who may write),
`transactions` (writes of several shards), `transaction_forms` (what nodes forward of them), `state`
(all that together), `large` (values in pieces), `changes` (of one item), `meta_effects`,
`lock_effects`, `transaction_effects` and `effects` (what each command does with the state),
`snapshot` (views, their bytes, digests), `reading` (a state out of such bytes), `store` (apply and
look up).
"""

from quorumcache.node.errors import CommandError, SnapshotInvalid
from quorumcache.node.state_machine import Command, Result, decode_batch, encode_batch
from quorumcache.node.store.snapshot import StoreView, encode_view
from quorumcache.node.store.store import EXPIRED, ShardStore

__all__ = [
    "EXPIRED",
    "Command",
    "CommandError",
    "Result",
    "ShardStore",
    "SnapshotInvalid",
    "StoreView",
    "decode_batch",
    "encode_batch",
    "encode_view",
]
