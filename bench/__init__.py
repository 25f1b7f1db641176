"""QuorumCache: the bench package."""
