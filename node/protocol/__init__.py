"""The memcached text protocol, pure: bytes in, requests out; results in, bytes out.

Reading order: `lock_requests` and `requests` (what a client may ask), `responses`, `lock_replies`
and `meta_replies` (results to bytes), `numbers` (how memcached reads a number), `words`,
`admin_lines`, `lock_lines`, `transaction_lines`, `meta_flags`, `meta_lines`, `lines` and
`storage_lines` (one line to one request), `value_blocks` (large values), `parser` (bytes to
requests).
"""

from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import Request

__all__ = ["Parser", "Request"]
