"""How a cluster comes into being, and how a data directory tells what it is.

Read in this order: `record` (what the founders agree on), `data_dir` (new, member or broken),
`frames` (what a new node and the others say), `phase` (a new node looks for the others, or proposes
the record), `progress` (a member waits until every founder has accepted). The argument for all of
it is in docs/storage.md, "Founding".
"""
