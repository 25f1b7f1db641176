"""Files: the `Disk` that everything durable goes through, and the small files beside the log.

Reading order: `disk` (the interface); `disk_worker`, `disk_calls`, `log_writer`, `log_file` and
`real_disk` (the machine's); `disk_space`, `checksum`, `kept_file`; then a file format
each: `identity`, `secret`, `founding_record`, `starts` with `start_record`, `known_nodes`,
`local_state`, `snapshots`.
"""
