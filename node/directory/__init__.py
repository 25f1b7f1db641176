"""Group 0: the replicated cluster map, and how each node follows it.

Reading order: `state` (the state machine: one map, replaced by compare-and-set on its epoch),
`starts` (which groups have started), `steward` (what the leader of group 0 does: create the first
map, keep addresses current), `seat` (this node's replica of group 0), `members` (the nodes as this
node knows them), `follower` (a new map takes effect here), `mover` (groups led here, on their
way to where the map wants them).
"""
