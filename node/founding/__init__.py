"""How a cluster comes into being, and how a data directory tells what it is.

Read in this order: `data_dir` (new, member or broken), `introduction` (what a node says of itself),
`phase` (a new node looks for the others, or proposes
the record), `progress` (a member waits until every founder has accepted). The argument for all of
it is in docs/storage.md, "Founding".
"""
