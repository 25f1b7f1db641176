"""How a cluster comes into being, and how a data directory tells what it is.

Reading order: `data_dir` (new, member or broken), `found_times`, `durable_state` (all that is
durable of a node), `progress` (a member waits until every founder has accepted), `introduction`
(what a node says of itself), `questions` (connections of new nodes), `phase` (a new node looks for
the others, or proposes the record), `joining` (a new node asks a cluster to take it in),
`beginning` (which of these a new node does, until it is a member), `arrival` (a member that is told
to join again), `seeking` (it asks there for nodes that it misses), `admission` (a member takes a
new node in). The argument for all of it is in docs/storage.md, "Founding" and "Joining".
"""
