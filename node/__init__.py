"""QuorumCache: the node package."""

from quorumcache.node.compiled import arrange

arrange()
