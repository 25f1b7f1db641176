"""The product's version, and what it tells memcached clients."""

from __future__ import annotations

VERSION = "0.1.0"

# Clients switch features on by the number that `version` gives: meta commands from 1.6, touch
# from 1.4.8. So the wire names the memcached whose protocol is spoken, first and in digits, and
# then this product.
MEMCACHED_VERSION = "1.6.45"
WIRE_VERSION = f"{MEMCACHED_VERSION}-quorumcache-{VERSION}"
