"""Operations of clients, on their way from the node that was asked to the leader and back.

Reading order: `failure`, `numbering`, `order`, `reply_room`, `operation`, `called_write`,
`meta_read`, `read_levels`, `read_values` (large values that readers are at), `lock_answers`,
`lock_reads`, `lock_waits` (where the lock is led), `stand_ins`, `forwarded`, `hold_waits` (who
meets a transaction), `serving`, `found_items`, `forward_forms` and `forwarded_writes` (where the
replica is), `leaders` (where it is believed to be), `new_ops`, `held`, `get_bundles`,
`write_bundles`, `forwards`, `deadlines`, `piece_reads`, `replica_reads`, `relays`, `sessions`,
`coordinator`, `lock_acquire` (where its client is), `transaction_snapshots` (many keys at one
moment), `transactions` (commits over several groups), `recovery` (what is left of them).
"""
