"""Links between nodes. Reading order: `codec` (frames), `items` and `consensus_items` (what is in
them), `founding_frames`, `peer`, `link` (one connection), `datagrams`, `listener`, `handshake`,
`open_links`, `dialer`, `network`, then `consensus_transport`.
"""
