"""Operations of clients, on their way from the node that was asked to the leader and back.

Reading order: `failure`, `numbering`, `order`, `operation`, `meta_read`, `read_levels`, `serving`
(where the replica is), `leaders` (where it is believed to be), `held`, `forwards`,
`forward_forms`, `deadlines`, `relays`, `sessions`, `coordinator`.
"""
