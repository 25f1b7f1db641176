"""The replicated log: pure consensus, no I/O.

Read in this order: `values`, `api` (the interface), `quorum`, `progress`, `log`,
`lease`, then `raft/`.
"""
