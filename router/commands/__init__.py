"""The commands of `quorumcache`, one module per family, and what they have in common.

Read in this order: words.py (words that argparse alone would not read as meant), basics.py (exit
codes, errors, output), keys.py (get, set, delete, route), script.py and transaction.py (txn),
running.py and locks.py (lock, locks), screen.py and progress.py (how moves go on), picture.py (the
ring as SVG), looks.py (map, status, ring), secret.py and changes.py (node, cluster, rebalance,
moves), local.py (rolling-restart) and parser.py (the command line). The module `cli` of `router`
runs them.
"""
