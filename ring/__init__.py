"""QuorumCache: the ring package."""
