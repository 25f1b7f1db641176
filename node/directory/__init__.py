"""Group 0: the replicated cluster map, and how each node follows it.

Reading order: `state` (the state machine: one map, replaced by compare-and-set on its epoch),
`starts` (which groups have started), `members` (the nodes as this node knows them), `reports` (what
nodes tell the directory), `addresses` (nodes that have moved), `question` (a change that is asked
for), `chronicle` (what happened between two maps), `steward` (what the leader of group 0 decides),
`seat` (this node's replica of group 0), `desk` (questions on their way to the leader), `moves_view`
(nodes and moves for people), `map_settings` (settings of the map in force here), `departure` (how
this node leaves), `address_book` (where nodes are that the map does not know to have moved),
`office` (what every node does for the directory, put together), `follower` (a new map takes effect
here), `mover` (groups led here, on their way to where the map wants them).
"""
