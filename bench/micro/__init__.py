"""Small measurements of single parts: `python -m quorumcache.bench.micro.<part>`."""
