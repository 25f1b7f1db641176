"""Client connections.

Reading order: `failures` (error lines), `pumps` (connections that go on), `write_room` (bounds on
unfinished writes), `prefixes` and `events` (for those who watch what clients do), `get_routes`
(gets that the items alone answer), `set_reader` (plain sets, from bytes), `context` (what all
connections share), `lanes` and `order` (which requests may run), `slots`, `replies`,
`value_streams` (large values), `conversation` (one client); then `routed_gets`, `quick_gets`,
`forwarded_gets`, `windows`, `retrievals`, `forwarded_answers`, `touches`, `writes`, `plain_sets`,
`meta_args`, `meta_requests`, `meta_writes`, `plain_meta_gets`, `meta_handlers` (the meta commands),
`uploads` and `large_handlers` (large values), `fenced_gets` and `lock_handlers` (locks),
`transaction_handlers`, `operator_words` (changes of the cluster), `key_dump`, `victim_lines` and
`admin_words` (for those who look after a server), `command_prefixes`, `handlers` (a function for
each kind of request), `cluster_words`, `watch` (slow and idle clients), `connection`,
`authentication` (clients that have to give a password), `server`.
"""
