"""What a node tells of itself. Imports nothing of the node: every other part may count and log.

Reading order: `counters`, `timings` (histograms), `streams` (standard streams), `logs`.
"""
