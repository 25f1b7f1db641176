"""Operations of clients, on their way from the node that was asked to the leader and back.

Reading order: `failure`, `numbering`, `order`, `operation`, `read_levels`, `serving` (where the
replica is), `leaders` (where it is believed to be), `held`, `forwards`, `deadlines`, `relays`,
`sessions`, `coordinator`.
"""
