"""The replicated log: pure consensus, no I/O.

Read in this order: `api` (values and the interface), `quorum`, `progress`, `log`,
`lease`, then `raft/`.
"""
