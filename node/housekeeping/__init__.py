"""What a node does by itself, now and then.

`housekeeper` is the loop of `expiry` (ended items, old sessions), `leadership` (leaders in their
places) and `snapshots` (logs that have grown). `disk_keeper` with `data_dir_watch` looks after the
disk, `limits`, `peer_watch` raise alarms, `timekeeper` keeps the cluster's time.
"""
