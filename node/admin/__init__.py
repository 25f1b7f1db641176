"""What a node shows: `/health`, `/status`, `/metrics` and the command "stats".

Reading order: `controls` (what clients may change of the process), `view` (what they may read of a
node), `status`, `memory_use`, `stat_transactions`, `metrics`, `stat_general`, `stat_items`,
`stat_cluster`, `stat_locks` and `stats` (the command), `server` (HTTP), `health_log` (a log line
when `/health` changes).
"""
