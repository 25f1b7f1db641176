"""What a node tells of itself: counters, timings, log lines, and the streams that carry them.

Imports nothing above itself: every other part of the node may count and log.
"""
