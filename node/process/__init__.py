"""The process around a node: options, signals, `run` (one node), `supervisor` (`quorumcached
up`)."""
