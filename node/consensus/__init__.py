"""The replicated log: pure consensus, no I/O.

Reading order: `errors`, `values`, `wire` (how messages travel), `catch_up` (what a node is sent
that was away), `api` (the interface), `quorum`, `lease`, `progress`, `packed` and `log`,
`staleness`, then `raft/`; `protocols` is the table of protocols, `runs` what most entries are
packed into, `transport` what a host needs of the network.
"""
