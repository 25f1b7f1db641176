"""Group 0: the replicated cluster map and those who decide upon it.

Read in this order: `state` (the state machine: one map, replaced by compare-and-set on its epoch),
then `steward` (what the leader of group 0 does: create the first map, keep addresses current).
"""
