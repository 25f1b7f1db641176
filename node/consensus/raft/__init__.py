"""Raft behind the `ReplicatedLog` interface."""
