/* Where the blocks of items lie: slabs, apart from the C library's heap. No Python in here.

Blocks of one size class fill a slab. Slabs are parts of a region, which is mapped from the system and lies at a
multiple of its size, so the slab of a block is found from the block's address. Heads of slabs stand together at
the start of their region. An empty slab gives its pages back, but for some that are kept for the next one, and a
region of which nothing is kept is unmapped. Blocks that are larger than BLOCK_BYTES_MAX come from malloc.

Rules for callers: one thread at a time, all tables of the process included. Blocks are aligned to 8 bytes. A
request that fails has changed nothing. Under the address sanitizer all blocks come from malloc, so that it sees
each of them; ITEM_SLABS_ALWAYS makes slabs there, too. */

#ifndef QUORUMCACHE_ITEM_SLABS_H
#define QUORUMCACHE_ITEM_SLABS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SLAB_BYTES = 1 << 14,
    REGION_SLABS = 64,
    BLOCK_BYTES_MAX = 2040,                       /* in slabs: sizes are 8, 24, 40, ... */
    SLAB_CLASSES = (BLOCK_BYTES_MAX + 8) / 16,
    SPARE_SLABS_MAX = 64                          /* empty ones whose pages are kept */
};

typedef struct slab slab;
typedef struct slab_region slab_region;

typedef struct {
    slab *first, *last;
} slab_list;

/* All zero is an empty one. */
typedef struct {
    slab_list partial[SLAB_CLASSES]; /* slabs with blocks in use and room for more */
    slab_list spare;                 /* empty slabs that have pages; the last one longest */
    slab_region *roomy;              /* regions with slabs that have no pages */
    uint64_t spare_count;
    uint64_t slab_bytes;  /* that blocks have used in slabs that still have their pages */
    uint64_t block_bytes; /* of these, what is in use */
} item_slabs;

/* NULL: no memory. */
void *item_slabs_take(item_slabs *slabs, size_t bytes);
/* `bytes`: as it was taken, or any other size of the same class. NULL does nothing. */
void item_slabs_give(item_slabs *slabs, void *block, size_t bytes);
/* Whether a block, taken for so many bytes, lies in a slab that is better emptied: a quarter of it is free, and
another block would come from a slab that is filled first. */
bool item_slabs_is_sparse(const item_slabs *slabs, const void *block, size_t bytes);
/* What slabs keep of the system's memory beside the blocks that are in use. */
uint64_t item_slabs_free_bytes(const item_slabs *slabs);

#endif
