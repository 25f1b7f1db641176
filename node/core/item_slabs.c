/* See item_slabs.h. */

#define _DEFAULT_SOURCE 1 /* mmap, madvise: C itself has none */

#include "item_slabs.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER
#endif
#endif
#if (defined(__SANITIZE_ADDRESS__) || defined(ADDRESS_SANITIZER)) && !defined(ITEM_SLABS_ALWAYS)
static const bool SINGLE_BLOCKS = true;
#else
static const bool SINGLE_BLOCKS = false;
#endif

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

static const size_t REGION_BYTES = (size_t)SLAB_BYTES * REGION_SLABS;

/* A block that is free. */
typedef struct free_block {
    struct free_block *next;
} free_block;

struct slab {
    slab *previous, *next; /* in the list in which it is */
    free_block *given; /* blocks that were given back */
    unsigned char *blocks; /* where the first one lies */
    uint32_t block_bytes, capacity;
    uint32_t used; /* blocks in use */
    uint32_t cut;  /* blocks that have been handed out once; behind them there are no free ones yet */
    uint32_t touched; /* bytes that blocks have used since it has its pages */
};

struct slab_region {
    slab_region *previous, *next; /* of those with slabs that have no pages */
    uint64_t bare;                /* a bit for each slab that has no pages */
    slab slabs[REGION_SLABS];
};

static const uint64_t ALL_BARE = ~(uint64_t)0;

_Static_assert(REGION_SLABS == 64, "a bit for each slab");
_Static_assert(sizeof(slab_region) < SLAB_BYTES / 4, "the heads leave the first slab its room");

/* -- lists ------------------------------------------------------------------------------------ */

static void link_first(slab_list *list, slab *s)
{
    s->previous = NULL;
    s->next = list->first;
    if (list->first != NULL)
        list->first->previous = s;
    else
        list->last = s;
    list->first = s;
}

static void unlink_slab(slab_list *list, slab *s)
{
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        list->first = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    else
        list->last = s->previous;
}

static void link_region(item_slabs *x, slab_region *r)
{
    r->previous = NULL;
    r->next = x->roomy;
    if (r->next != NULL)
        r->next->previous = r;
    x->roomy = r;
}

static void unlink_region(item_slabs *x, slab_region *r)
{
    if (r->previous != NULL)
        r->previous->next = r->next;
    else
        x->roomy = r->next;
    if (r->next != NULL)
        r->next->previous = r->previous;
}

/* -- regions ---------------------------------------------------------------------------------- */

static slab_region *region_of(const void *address)
{
    return (slab_region *)((uintptr_t)address & ~(uintptr_t)(REGION_BYTES - 1));
}

static void *map(size_t bytes)
{
    void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

/* Memory at a multiple of its size. The system mostly places a mapping beside the one before, so the first try
does once there is a region; else more is mapped, and what stands over is given back. */
static void *map_region(void)
{
    unsigned char *made = map(REGION_BYTES);
    if (made == NULL || (void *)region_of(made) == made)
        return made;
    munmap(made, REGION_BYTES);
    made = map(2 * REGION_BYTES);
    if (made == NULL)
        return NULL;
    unsigned char *region = (unsigned char *)region_of(made + REGION_BYTES - 1);
    size_t before = (size_t)(region - made), behind = REGION_BYTES - before;
    if (before)
        munmap(made, before);
    if (behind)
        munmap(region + REGION_BYTES, behind);
    return region;
}

static bool add_region(item_slabs *x)
{
    slab_region *r = map_region();
    if (r == NULL)
        return false;
#ifdef MADV_NOHUGEPAGE
    madvise(r, REGION_BYTES, MADV_NOHUGEPAGE); /* else what was given back is filled up again */
#endif
    r->bare = ALL_BARE;
    link_region(x, r);
    return true;
}

static unsigned char *start_of(slab_region *r, const slab *s)
{
    return (unsigned char *)r + (size_t)(s - r->slabs) * SLAB_BYTES;
}

/* Give the pages of an empty slab back, but for those with the heads. */
static void strip(item_slabs *x, slab *s)
{
    slab_region *r = region_of(s);
    unsigned char *from = start_of(r, s), *end = from + SLAB_BYTES;
    x->slab_bytes -= s->touched;
    s->touched = 0;
    if (!r->bare)
        link_region(x, r);
    r->bare |= (uint64_t)1 << (s - r->slabs);
    if (r->bare == ALL_BARE) {
        unlink_region(x, r);
        munmap(r, REGION_BYTES);
        return;
    }
    if (s == r->slabs) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        from += (sizeof *r + page - 1) / page * page;
    }
    if (from < end)
        madvise(from, (size_t)(end - from), MADV_DONTNEED);
}

/* -- slabs ------------------------------------------------------------------------------------ */

/* A slab without blocks, in no list. NULL: no memory. */
static slab *empty_slab(item_slabs *x)
{
    slab *s = x->spare.first;
    if (s != NULL) {
        unlink_slab(&x->spare, s);
        x->spare_count--;
        return s;
    }
    if (x->roomy == NULL && !add_region(x))
        return NULL;
    slab_region *r = x->roomy;
    s = &r->slabs[__builtin_ctzll(r->bare)];
    r->bare &= r->bare - 1;
    if (!r->bare)
        unlink_region(x, r);
    return s;
}

static slab *add_slab(item_slabs *x, unsigned class)
{
    slab *s = empty_slab(x);
    if (s == NULL)
        return NULL;
    slab_region *r = region_of(s);
    size_t head = s == r->slabs ? (sizeof *r + 63) / 64 * 64 : 0;
    s->given = NULL;
    s->blocks = start_of(r, s) + head;
    s->block_bytes = 16 * class + 8;
    s->capacity = (uint32_t)((SLAB_BYTES - head) / s->block_bytes);
    s->used = s->cut = 0;
    link_first(&x->partial[class], s);
    return s;
}

/* The class of a size: the smallest one with room. */
static unsigned class_of(size_t bytes) { return (unsigned)((bytes + 7) / 16); }

/* A block that was never in use. */
static free_block *cut_block(item_slabs *x, slab *s)
{
    unsigned char *block = s->blocks + (size_t)s->cut * s->block_bytes;
    uint32_t end = ++s->cut * s->block_bytes;
    if (end > s->touched) {
        x->slab_bytes += end - s->touched;
        s->touched = end;
    }
    return (free_block *)block;
}

void *item_slabs_take(item_slabs *x, size_t bytes)
{
    if (SINGLE_BLOCKS || bytes > BLOCK_BYTES_MAX)
        return malloc(bytes);
    unsigned class = class_of(bytes);
    slab *s = x->partial[class].first;
    if (s == NULL && (s = add_slab(x, class)) == NULL)
        return NULL;
    free_block *block = s->given;
    if (block != NULL)
        s->given = block->next;
    else
        block = cut_block(x, s);
    if (++s->used == s->capacity)
        unlink_slab(&x->partial[class], s);
    x->block_bytes += s->block_bytes;
    return block;
}

static slab *slab_of(const void *block)
{
    slab_region *r = region_of(block);
    return &r->slabs[((uintptr_t)block - (uintptr_t)r) / SLAB_BYTES];
}

bool item_slabs_is_sparse(const item_slabs *x, const void *block, size_t bytes)
{
    if (SINGLE_BLOCKS || bytes > BLOCK_BYTES_MAX)
        return false;
    const slab *s = slab_of(block), *first = x->partial[class_of(bytes)].first;
    return first != NULL && s != first && s->used < s->capacity - s->capacity / 4;
}

void item_slabs_give(item_slabs *x, void *given, size_t bytes)
{
    if (SINGLE_BLOCKS || bytes > BLOCK_BYTES_MAX || given == NULL) {
        free(given);
        return;
    }
    slab *s = slab_of(given);
    slab_list *partial = &x->partial[class_of(bytes)];
    free_block *block = given;
    block->next = s->given;
    s->given = block;
    x->block_bytes -= s->block_bytes;
    if (s->used-- == s->capacity)
        link_first(partial, s);
    if (s->used)
        return;
    unlink_slab(partial, s);
    link_first(&x->spare, s);
    if (++x->spare_count > SPARE_SLABS_MAX) {
        slab *oldest = x->spare.last;
        unlink_slab(&x->spare, oldest);
        x->spare_count--;
        strip(x, oldest);
    }
}

uint64_t item_slabs_free_bytes(const item_slabs *x) { return x->slab_bytes - x->block_bytes; }
