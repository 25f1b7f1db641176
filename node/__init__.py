"""QuorumCache: the node package."""
