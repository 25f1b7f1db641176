"""The replicated log: pure consensus, no I/O.

Read in this order: `values`, `api` (the interface), `quorum`, `progress`, `log`, `lease`,
`staleness`, then `raft/`. `wire` is how messages travel, `protocols` which protocols there are.
"""
