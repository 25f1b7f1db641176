"""What a node shows: `/health`, `/status`, `/metrics` and `stats`, all from `view`."""
