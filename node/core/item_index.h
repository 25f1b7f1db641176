/* The index of a table: from a key to its item. No Python in here.

Extendible hashing: a directory of segments, by the low bits of a key's hash. A segment is an
open-addressing table (linear probing) of up to SEGMENT_ITEMS_MAX items. A slot is the block's address in
its low 48 bits and the high 16 bits of the hash above them; those 16 bits also say where in the
segment the slot belongs, so a segment grows, shrinks and closes gaps without a look at any block. A
full segment is split in two. So no step ever moves more than one segment.

Images share segments: who changes a shared one copies it first. */

#ifndef QUORUMCACHE_ITEM_INDEX_H
#define QUORUMCACHE_ITEM_INDEX_H

#include "item_block.h"

enum { SEGMENT_ITEMS_MAX = 1024 };

typedef struct segment {
    uint32_t references; /* the table's own, and one for each image */
    uint32_t depth;      /* so many low bits of the hash are the same for all of its items */
    uint32_t count, size;
    uint64_t slots[]; /* 0 = free */
} segment;

typedef struct {
    segment **directory; /* 1 << depth entries */
    uint32_t depth;
    uint64_t seed;
    uint64_t count;        /* items */
    uint64_t bytes;        /* of the directory and of all segments */
    uint64_t imaged_bytes; /* of those, what only images have */
} item_index;

/* `seed` goes into the hash of keys. False: no memory. */
bool item_index_init(item_index *index, uint64_t seed);
/* The items are the caller's. */
void item_index_free(item_index *index);
/* Forget all items. False: no memory. */
bool item_index_clear(item_index *index);

uint64_t item_index_hash(const item_index *index, const unsigned char *key, size_t length);
segment *item_index_segment(const item_index *index, uint64_t hash);
/* The slot of a key in the segment of its hash; `size` of the segment if there is none. */
uint32_t segment_find(const segment *segment, const unsigned char *key, size_t length, uint64_t hash);
item *segment_item(const segment *segment, uint32_t slot); /* NULL: the slot is free */
/* What a look-up of a hash reads, one after the other. */
typedef enum { WARM_ENTRY, WARM_SEGMENT, WARM_SLOT, WARM_ITEM } warm_step;
/* Fetch into the processor's cache what a step names; it finds its way by what the step before has fetched. Waits for
nothing if something else is done between two steps. A hint: nothing depends on it. */
void item_index_warm(const item_index *index, uint64_t hash, warm_step step);

/* The segment of a hash, not shared; `with_room`: for one more item. NULL: no memory. */
segment *item_index_own(item_index *index, uint64_t hash);
segment *item_index_with_room(item_index *index, uint64_t hash);
/* What is in a segment that is not shared: one more; another one of the same key; one less. */
void item_index_insert(item_index *index, segment *segment, uint64_t hash, const item *item);
void segment_replace(segment *segment, uint32_t slot, uint64_t hash, const item *item);
void item_index_remove(item_index *index, segment *segment, uint32_t slot, uint64_t hash);

/* The segment at a position of a scan, and the next position. Positions are 32-bit fractions of the hash
space; a scan begins at 0 and ends when the next one is 0. Segments that are split or that grow between two
steps do no harm: a scan passes each item that is there all the time. */
const segment *item_index_scan(const item_index *index, uint32_t position, uint32_t *next);

/* All segments, each once, for an image to keep; `count`: how many. NULL: no memory. */
segment **item_index_share(item_index *index, uint32_t *count);
void item_index_unshare(item_index *index, segment **segments, uint32_t count);

#endif
