"""The process around a node.

Reading order: `options` (command line and TOML file), `given_secret`, `signals`, `run` (one node);
then `local_cluster`, `child` and `supervisor`, which are `quorumcached up`.
"""
