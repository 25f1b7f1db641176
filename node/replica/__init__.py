"""The replicas of one node.

Reading order: `group` (one replica of one shard), `snapshotting` (its state as bytes), `host` (all
groups on one log), `starter` (starts a replica from what the disk holds), `removal` (one
leaves the node), `handover` (a node that stops gives its leaderships away).
"""
