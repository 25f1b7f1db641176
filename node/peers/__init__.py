"""Links between nodes. Reading order: `codec` (frames), `items` and `consensus_items` (what is in
them), `founding_frames`, `state`, `link` (one connection), `datagrams`, `listener`, `network`.
"""
