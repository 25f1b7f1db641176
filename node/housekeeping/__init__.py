"""What a node does by itself, now and then.

Reading order: `rounds` (what is due when), `expiry` (ended items, old sessions), `leases` (of
locks), `evictions` (shards that take too much), `hot_keys` (what followers know of reads),
`memory_shares` and `memory_round` (how much that is), `packing` (old entries of the log),
`fitness` (whether this node should lead), `leadership` (leaders in their places), `snapshots` (logs
that have grown), `rest` (when memory is given back) and `housekeeper`, their loop. Then
`data_dir_watch` and `disk_keeper` (the disk), `limits`, `hold_watch` and `peer_watch` (alarms),
`timekeeper` (the cluster's time).
"""
