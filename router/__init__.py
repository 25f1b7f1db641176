"""QuorumCache: the router package."""
