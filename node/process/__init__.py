"""The process around a node.

Reading order: `setting_table` (all settings), `signals`, `launch` (in the background, as another
user), `memcached_flags`, `options` (command line and TOML file), `given_secret`, `given_users`,
`event_loop`, `run` (one node); then `local_cluster`, `child`, `node_http`, `rolling`, `control`,
`supervisor`, `up_commands` and `up`, which are `quorumcached up`.
"""
