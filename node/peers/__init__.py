"""Links between nodes.

Reading order: `codec` (frames), `strangers` (who is a peer), `items` and `consensus_items` (what is
in frames), `founding_frames`, `sender` (the way to other nodes, as an interface), `datagrams`,
`link` (one connection), `line_log`, `peer`, `listener`, `handshake`, `open_links`, `dialer`,
`network`, `consensus_transport`.
"""
