"""What the operating system gives a node.

Reading order: `descriptors` (open files), `heap` (memory that malloc holds), `port_holder`,
`listeners`, `unix_sockets`, `kernel_timing`, `senders` (what a socket takes at once), `tasks`
(background tasks of the loop).
"""
