"""Links between nodes.

Reading order: `codec` (frames), `items` and `consensus_items` (what is in them), `proofs`,
`strangers` (why a node is no peer), `founding_secret`, `founding_frames`, `joining_frames`,
`sender` (the way to other nodes, as an interface), `datagrams`, `link` (one connection),
`line_log`, `peer`, `listener`, `handshake`, `datagram_paths`, `open_links`, `dialer`, `network`,
`bundles` (entries of many groups), `beats` (their heartbeats), `consensus_transport`.
"""
