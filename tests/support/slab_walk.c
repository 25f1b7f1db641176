/* The slabs of item blocks beside a plain model, while memory runs out at any place.

Blocks of all sizes are taken and given back in any order, by phases that grow and shrink and that change the
sizes. Each is filled with bytes of its own, which have to be there when it is given back: so no two overlap, and
no page goes while a block lies in it. The n-th request for memory fails, for n = 1, 2, ...; a failure has to
change nothing. Every so often all lists and sums are compared. At the end everything is given back. Run as:
slab_walk SEED STEPS. */

#define _DEFAULT_SOURCE 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long until_failure = -1; /* requests that still succeed; -1: all do */
static uint64_t failures, mallocs, mapped, stripped;
static uint64_t random_state;

static uint32_t chance(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) % below);
}

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static bool fails(void)
{
    if (until_failure < 0 || until_failure--)
        return false;
    failures++;
    return true;
}

static void *scarce_malloc(size_t size)
{
    mallocs += 1;
    return fails() ? (mallocs--, NULL) : malloc(size);
}

static void counted_free(void *block)
{
    mallocs -= block != NULL;
    free(block);
}

/* Half of the places are not at a multiple of a region. */
static void *scarce_mmap(void *hint, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (fails())
        return MAP_FAILED;
    hint = (void *)(UINT64_C(0x200000000000) + ((uint64_t)chance(1 << 16) << 24) + (chance(2) ? 0 : 3 << 16));
    void *made = mmap(hint, bytes, protection, flags, file, offset);
    check(made != MAP_FAILED, "the system has no memory");
    mapped += bytes;
    return made;
}

static int counted_munmap(void *at, size_t bytes)
{
    mapped -= bytes;
    return munmap(at, bytes);
}

static int counted_madvise(void *at, size_t bytes, int advice);

#define malloc scarce_malloc
#define free counted_free
#define mmap scarce_mmap
#define munmap counted_munmap
#define madvise counted_madvise
#include "item_slabs.c"
#undef malloc
#undef free
#undef mmap
#undef munmap
#undef madvise

static int counted_madvise(void *at, size_t bytes, int advice)
{
    if (advice == MADV_DONTNEED) {
        check((unsigned char *)at >= (unsigned char *)region_of(at) + sizeof(slab_region), "heads are given back");
        stripped++;
    }
    return madvise(at, bytes, advice);
}

enum { BLOCKS_MAX = 60000, LARGE_BYTES = 5000 };

typedef struct {
    unsigned char *at;
    uint32_t bytes, content;
} block;

static block held[BLOCKS_MAX];
static uint32_t count;
static item_slabs slabs;

static void fill(uint32_t number)
{
    for (uint32_t i = 0; i < held[number].bytes; i++)
        held[number].at[i] = (unsigned char)(held[number].content + i);
}

static void check_block(uint32_t number)
{
    for (uint32_t i = 0; i < held[number].bytes; i++)
        check(held[number].at[i] == (unsigned char)(held[number].content + i), "a block has another content");
}

/* Mostly of a few classes, which change with the phase. */
static uint32_t size_of_phase(uint32_t phase)
{
    switch (chance(8)) {
    case 0:
        return 1 + chance(BLOCK_BYTES_MAX + 64);
    case 1:
        return BLOCK_BYTES_MAX - 8 + chance(LARGE_BYTES - BLOCK_BYTES_MAX);
    default:
        return 100 + phase * 170 % 900 + chance(24);
    }
}

static uint32_t class_size(uint32_t bytes) { return (bytes + 7) / 16 * 16 + 8; }

static void take(uint32_t phase)
{
    uint32_t bytes = size_of_phase(phase);
    item_slabs before = slabs;
    uint64_t mapped_before = mapped;
    unsigned char *block;
    for (long fail = 0;; fail++) {
        until_failure = fail;
        block = item_slabs_take(&slabs, bytes);
        until_failure = -1;
        if (block != NULL)
            break;
        check(!memcmp(&before, &slabs, sizeof slabs) && mapped == mapped_before, "a failure changes something");
    }
    check((uintptr_t)block % 8 == 0, "a block is not aligned");
    if (bytes <= BLOCK_BYTES_MAX) {
        uintptr_t first = (uintptr_t)block, last = first + class_size(bytes) - 1;
        check(first / SLAB_BYTES == last / SLAB_BYTES, "a block leaves its slab");
        check((first & (REGION_BYTES - 1)) >= sizeof(slab_region), "a block lies over the heads");
        check(slabs.block_bytes == before.block_bytes + class_size(bytes), "other bytes are in use");
        check(slabs.slab_bytes >= slabs.block_bytes, "blocks lie in no slab");
    }
    held[count].at = block;
    held[count].bytes = bytes;
    held[count].content = chance(256);
    fill(count++);
}

static void give(uint32_t number)
{
    check_block(number);
    uint32_t bytes = held[number].bytes;
    if (bytes <= BLOCK_BYTES_MAX)
        bytes = class_size(bytes) - chance(8);
    item_slabs_give(&slabs, held[number].at, bytes);
    held[number] = held[--count];
}

static int by_slab(const void *one, const void *other)
{
    slab *a = *(slab *const *)one, *b = *(slab *const *)other;
    return a < b ? -1 : a > b;
}

/* How many slabs have blocks in use; each has as many as it says. */
static uint64_t check_used(void)
{
    static slab *of[BLOCKS_MAX];
    uint32_t small = 0;
    uint64_t bytes = 0, used = 0;
    for (uint32_t i = 0; i < count; i++) {
        check_block(i);
        if (held[i].bytes > BLOCK_BYTES_MAX)
            continue;
        slab_region *r = region_of(held[i].at);
        of[small] = &r->slabs[((uintptr_t)held[i].at & (REGION_BYTES - 1)) / SLAB_BYTES];
        check(of[small++]->block_bytes == class_size(held[i].bytes), "a block is in a slab of another class");
        bytes += class_size(held[i].bytes);
    }
    check(bytes == slabs.block_bytes, "other bytes are in use in all");
    check(mallocs == count - small, "other blocks of malloc");
    qsort(of, small, sizeof *of, by_slab);
    for (uint32_t i = 0, next; i < small; i = next, used++) {
        for (next = i; next < small && of[next] == of[i]; next++)
            ;
        check(of[i]->used == next - i, "a slab counts other blocks");
    }
    return used;
}

static void check_all(void)
{
    uint64_t used = check_used(), bare = 0, spare = 0;
    for (uint32_t class = 0; class < SLAB_CLASSES; class++) {
        const slab *last = NULL;
        for (slab *s = slabs.partial[class].first; s != NULL; last = s, s = s->next) {
            check(s->previous == last && s->block_bytes == 16 * class + 8, "a broken list");
            check(s->used && s->used < s->capacity && s->cut <= s->capacity, "a slab is in a wrong list");
            uint32_t free_blocks = 0;
            for (free_block *block = s->given; block != NULL; block = block->next, free_blocks++)
                check(((size_t)((unsigned char *)block - s->blocks)) % s->block_bytes == 0, "a wrong free block");
            check(free_blocks == s->cut - s->used, "a free block is lost");
        }
        check(slabs.partial[class].last == last, "a list ends elsewhere");
    }
    for (const slab *s = slabs.spare.first; s != NULL; s = s->next, spare++)
        check(!s->used, "a spare slab is in use");
    check(spare == slabs.spare_count && spare <= SPARE_SLABS_MAX, "too many empty slabs are kept");
    for (const slab_region *r = slabs.roomy; r != NULL; r = r->next) {
        check(r->bare && r->bare != ALL_BARE, "a region is in a wrong list");
        bare += (uint64_t)__builtin_popcountll(r->bare);
    }
    check(mapped % REGION_BYTES == 0, "a piece of a region is left");
    check((used + spare + bare) * SLAB_BYTES == mapped, "a slab is lost");
    check(item_slabs_free_bytes(&slabs) + slabs.block_bytes <= (used + spare) * SLAB_BYTES, "other free bytes");
}

static int by_place(const void *one, const void *other)
{
    const block *a = one, *b = other;
    return a->at < b->at ? -1 : a->at > b->at;
}

int main(int words, char **word)
{
    if (words != 3)
        return 2;
    random_state = strtoull(word[1], NULL, 10);
    uint32_t steps = (uint32_t)strtoul(word[2], NULL, 10);
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t phase = i / 50000, grows = phase % 2 ? 25 : 75;
        if (count == BLOCKS_MAX || (count && chance(100) >= grows))
            give(chance(2) ? chance(count) : count - 1 - chance(count < 64 ? count : 64));
        else
            take(phase);
        if (i % 10000 == 0)
            check_all();
    }
    check_all();
    uint64_t most = mapped;
    qsort(held, count, sizeof *held, by_place); /* so that whole regions become empty */
    while (count)
        give(count - 1);
    check_all();
    check(!slabs.block_bytes && !mallocs, "blocks are left");
    check(slabs.spare_count == SPARE_SLABS_MAX && mapped < most / 2, "regions are left");
    printf("%llu failures, %llu slabs given back\n", (unsigned long long)failures, (unsigned long long)stripped);
    return 0;
}
