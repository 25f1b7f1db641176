"""Real processes. A package, so that the nodes that its tests share end with its tests."""
