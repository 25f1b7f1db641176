"""The replicas of one node.

Reading order: `evicting` (a leader's plan of what leaves), `proposed` (an entry until it is
applied), `read_rounds` (reads without a lease), `group` (one replica of one shard), `memory_room`
(what a node may use, and which writes it refuses), `pacing` (how fast copies go to new replicas),
`snapshotting` (its state as bytes), `installing` (a leader's snapshot takes the place of a state),
`ticking` (time passes), `turn_bounds` (what all groups do in a turn, at most), `turns` (when the
host has its next turn), `bundled` (entries of many groups at once), `beating` (heartbeats of many
groups at once), `host` (all groups on one log), `starter` (starts a replica from what the disk
holds), `freeing` (memory of those that left), `removal` (one leaves the node), `steering` (a
group's next step to another replica set), `handover` (a node that stops gives its leaderships
away).
"""
