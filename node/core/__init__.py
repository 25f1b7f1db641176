"""The native core: what requests pass most often, in C, with Cython between it and Python.

It is part of the compiled form (`compiled.py`) and has a twin in Python for each of its classes,
which runs without a compiler or with `QUORUMCACHE_COMPILED=0`; the same tests run over both. What
is C here knows nothing of Python, so it is read, checked and fuzzed by itself.

    item_table.h, item_table.c   the items of a shard: blocks, index, queues, images
    items.pxd, .pyx, .pyi        `ItemTable`, `ItemImage`. Twins: store/plain_item_table.py
"""
