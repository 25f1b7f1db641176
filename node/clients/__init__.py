"""Client connections. Reading order: `server`, `connection`, `lanes`, `handlers`, then
`retrievals`, `writes`, `cluster_words`, and `watch`.
"""
