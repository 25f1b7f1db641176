"""What a node shows: `/health`, `/status`, `/metrics` and the command "stats".

Reading order: `controls` (what clients may change of the process), `view` (what they may read of a
node), `status`, `metrics`, `stats`, `server` (HTTP), `health_log` (a log line when `/health`
changes).
"""
