"""The replicas of one node: `group` (one replica of one shard), `host` (all of them on one log),
`handover` (a node that stops gives its leaderships away).
"""
