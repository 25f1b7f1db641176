"""QuorumCache: the node package."""

from node.compiled import arrange

arrange()
