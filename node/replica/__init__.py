"""The replicas of one node: `group` (one replica of one shard), `snapshotting` (its state as
bytes), `host` (all on one log), `handover` (a node that stops gives its leaderships away).
"""
