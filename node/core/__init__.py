"""The native core: what requests pass most often, in C, with Cython between it and Python.

It is part of the compiled form (`compiled.py`) and has a twin in Python for each of its classes,
which runs without a compiler or with `QUORUMCACHE_COMPILED=0`; the same tests run over both. What
is C here knows nothing of Python, so it is read, checked and fuzzed by itself. Only the log's
writer calls the system; the simulation has a disk of its own in its place.

    item_slabs.h, item_slabs.c   where the blocks of items lie
    item_block.h, item_block.c   one item: a block of memory
    item_index.h, item_index.c   from a key to its item
    item_table.h, item_table.c   the items of a shard: index, queues, images
    key_token.h, key_token.c     the shard of a key
    get_lines.h, get_lines.c     gets, from the bytes of a client to those of its reply
    set_lines.h, set_lines.c     plain sets, taken apart
    set_batch.h, set_batch.c     plain sets, from the bytes of a log entry to their items
    crc32.h, crc32.c             the checksum of frames, by what the processor has
    items.pxd, .pyx, .pyi        `ItemTable`, `ItemImage`. Twins: store/plain_item_table.py
    gets.pxd, .pyx, .pyi         `ReadGate`, `GetRoutes`. Twins: store/read_gate.py,
                                 clients/get_routes.py
    senders.pxd, .pyx, .pyi      `Sender`: the one that knows of sockets. Twin: system/senders.py
    client_sets.pyx, .pyi        `SetReader`. Twin: clients/set_reader.py
    packer.pxd, .pyx, .pyi       msgpack of entries and items. Twin: the msgpack library
    sets.pyx, .pyi               `SetBatches`. Twin: store/set_batches.py
    log_writer_thread.h, .c      the thread that writes and syncs the log
    log_writer.pyx, .pyi         `LogWriter`. Twin: storage/log_writer.py
    wire.pyx, .pyi               runs of entries, frames between nodes and of the log. Twins:
                                 consensus/runs.py, peers/codec.py, wal/format.py, wal/groups.py
"""
