/* The table of items beside a plain model, while memory runs out at any place.

Each step does one thing. Its n-th request for memory fails, for n = 1, 2, ...; whatever fails has to change
nothing, and the step is then done again, until it succeeds. After each step the sums are compared, and
every so often all items and all open images. The sanitizers see to the rest: what is freed too early, or
twice. At the end nothing may be left. Run as: short_memory SEED STEPS. With ITEM_SLABS_ALWAYS the blocks lie in
slabs, and not each in one of malloc's. */

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
static uint64_t failures;
static uint64_t blocks; /* that were given and not freed */

static bool fails(void)
{
    if (until_failure < 0 || until_failure--)
        return false;
    failures++;
    return true;
}

static void *given(void *block)
{
    if (block == NULL)
        abort();
    blocks++;
    return block;
}

static void *scarce_malloc(size_t size) { return fails() ? NULL : given(malloc(size)); }
static void *scarce_calloc(size_t count, size_t size) { return fails() ? NULL : given(calloc(count, size)); }
static void *scarce_realloc(void *old, size_t size) { return fails() ? NULL : realloc(old, size); }

static void *scarce_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    return fails() ? MAP_FAILED : mmap(at, bytes, protection, flags, file, offset);
}

static void counted_free(void *block)
{
    blocks -= block != NULL;
    free(block);
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#define realloc scarce_realloc
#define free counted_free
#define mmap scarce_mmap
#include "item_slabs.c"
#include "item_block.c"
#include "item_index.c"
#include "item_table.c"
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef mmap

enum { KEYS = 15000, IMAGES = 3, ITEM_BYTES_MAX = 400, KEY_BYTES = 4 };

/* What a key holds: 0 = nothing; else a number from which its packed item is made again. */
typedef struct {
    uint32_t held[KEYS];
    uint64_t count, bytes;
} model;

static item_slabs slabs;
static item_table table;
static model now;
static struct {
    bool is_open;
    item_image image;
    model then;
} images[IMAGES];

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

static void write_key(unsigned char *key, uint32_t number) { memcpy(key, &number, KEY_BYTES); }

/* The packed item of a number: plain ones, ones with an end, with flags, odd ones and large ones. */
static size_t make_item(uint32_t number, unsigned char *packed)
{
    static const uint8_t bits[] = {0, 0, BIT_ENDS, 0, BIT_PIECES, BIT_ENDS | BIT_STALE, 0, 0};
    uint32_t kind = number % 8, value = number % 7 ? number % 90 : number % 300;
    memset(packed, 0, PACKED_HEAD_BYTES);
    packed[0] = bits[kind];
    if (packed[0] & BIT_ENDS)
        write_be64(packed + 1, number);
    write_be64(packed + 9, number);
    char *text = (char *)packed + PACKED_HEAD_BYTES;
    if (kind == 4)
        return PACKED_HEAD_BYTES + (size_t)sprintf(text, " 0 %u\r\n12345678", number);
    uint32_t flags = kind == 3 ? number : 0;
    size_t length = (size_t)sprintf(text, kind == 6 ? " %u 0%u\r\n" : " %u %u\r\n", flags, value);
    memset(text + length, (int)('a' + number % 26), value);
    memcpy(text + length + value, "\r\n", 2);
    return PACKED_HEAD_BYTES + length + value + 2;
}

static uint64_t cost_of_number(uint32_t number)
{
    unsigned char packed[ITEM_BYTES_MAX];
    item_parts parts;
    check(item_parse(packed, make_item(number, packed), &parts), "an item is refused");
    return item_parts_cost(&parts, KEY_BYTES);
}

static void check_item(const item *found, uint32_t number)
{
    unsigned char expected[ITEM_BYTES_MAX], packed[ITEM_BYTES_MAX];
    size_t length = make_item(number, expected);
    check(item_packed_length(found) == length, "an item has another length");
    item_pack(found, packed);
    check(!memcmp(packed, expected, length), "an item has another content");
}

static void check_sums(void)
{
    uint64_t count = 0, bytes = 0;
    for (int queue = 0; queue < QUEUES; queue++) {
        count += table.queues[queue].count;
        bytes += table.queues[queue].bytes;
    }
    check(table.index.count == now.count && count == now.count, "another count");
    check(table.bytes_used == now.bytes && bytes == now.bytes, "other bytes");
}

static void check_all(void)
{
    unsigned char key[KEY_BYTES];
    uint64_t expiring = 0, linked = 0, index = sizeof *table.index.directory << table.index.depth, imaged = 0;
    for (uint32_t number = 0; number < KEYS; number++) {
        write_key(key, number);
        const item *found = item_table_find(&table, key, KEY_BYTES);
        check((found != NULL) == (now.held[number] != 0), "another key");
        if (found != NULL) {
            check_item(found, now.held[number]);
            expiring += found->bits & BIT_ENDS;
        }
    }
    check(expiring == table.expiring, "other ends");
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        const item *last = NULL;
        for (const item *it = table.queues[queue].first; it != NULL; last = it, it = it->next, linked++)
            check(it->previous == last && item_queue_of(it) == queue, "a broken queue");
        check(table.queues[queue].last == last, "a queue ends elsewhere");
    }
    check(linked == table.index.count, "a queue lost an item");
    for (uint64_t i = 0; i < (uint64_t)1 << table.index.depth; i++)
        if (i < (uint64_t)1 << table.index.directory[i]->depth)
            index += segment_bytes(table.index.directory[i]->size);
    for (int i = 0; i < IMAGES; i++) {
        if (!images[i].is_open)
            continue;
        uint64_t seen = 0;
        for (uint32_t part = 0; part < images[i].image.segment_count; part++) {
            const segment *s = images[i].image.segments[part];
            for (uint32_t slot = 0; slot < s->size; slot++) {
                const item *found = segment_item(s, slot);
                if (found == NULL)
                    continue;
                uint32_t number;
                memcpy(&number, item_key(found), KEY_BYTES);
                check(images[i].then.held[number] != 0, "an image has a key too many");
                check_item(found, images[i].then.held[number]);
                seen++;
            }
        }
        check(seen == images[i].then.count && seen == images[i].image.item_count, "an image lost a key");
    }
    imaged = table.index.imaged_bytes;
    check(table.index.bytes - imaged == index, "the index takes other bytes");
    uint64_t retired = 0, retired_bytes = 0;
    for (const item *it = table.retired; it != NULL; it = it->next, retired++)
        retired_bytes += item_chunk(it);
    check(retired == table.retired_count && retired_bytes == table.retired_bytes, "other retired items");
    if (!table.images)
        check(!imaged, "the index of no image takes bytes");
}

static void forget(uint32_t number)
{
    now.count--;
    now.bytes -= cost_of_number(now.held[number]);
    now.held[number] = 0;
}

/* False: there was no memory, and nothing was done. */
static bool put(uint32_t number, uint32_t content)
{
    unsigned char key[KEY_BYTES], packed[ITEM_BYTES_MAX];
    item_parts parts;
    item *old;
    write_key(key, number);
    check(item_parse(packed, make_item(content, packed), &parts), "an item is refused");
    put_outcome outcome = item_table_put(&table, key, KEY_BYTES, &parts, 7, &old);
    if (outcome == PUT_FAILED) {
        check(old == NULL, "a failure replaces");
        return false;
    }
    check((outcome == PUT_CHANGED) == (now.held[number] != 0), "another outcome");
    check((old != NULL) == (now.held[number] % 8 == 4), "another old item");
    if (old != NULL) {
        check_item(old, now.held[number]);
        item_table_drop(&table, old);
    }
    if (now.held[number])
        forget(number);
    now.held[number] = content;
    now.count++;
    now.bytes += cost_of_number(content);
    return true;
}

static bool take(uint32_t number)
{
    unsigned char key[KEY_BYTES];
    bool failed;
    write_key(key, number);
    item *found = item_table_take(&table, key, KEY_BYTES, &failed);
    if (failed)
        return false;
    check((found != NULL) == (now.held[number] != 0), "another item is taken");
    if (found != NULL) {
        check_item(found, now.held[number]);
        item_table_drop(&table, found);
        forget(number);
    }
    return true;
}

static bool clear(void)
{
    if (!item_table_clear(&table))
        return false;
    memset(&now, 0, sizeof now);
    return true;
}

static bool toggle(uint32_t which)
{
    if (images[which].is_open)
        item_image_close(&table, &images[which].image);
    else if (!item_image_open(&table, &images[which].image))
        return false;
    else
        images[which].then = now;
    images[which].is_open = !images[which].is_open;
    return true;
}

static void move(uint32_t number)
{
    unsigned char key[KEY_BYTES];
    write_key(key, number);
    item *found = item_table_find(&table, key, KEY_BYTES);
    if (found == NULL)
        return;
    item_note_hit(found, 8);
    item_table_move(&table, found, number % QUEUES, 9);
}

static bool step(uint32_t kind, uint32_t number, uint32_t content, uint32_t puts)
{
    if (kind < puts)
        return put(number, content);
    if (kind < 900)
        return take(number);
    if (kind < 980)
        move(number);
    else if (kind < 997)
        return toggle(number % IMAGES);
    else if (kind < 999)
        item_table_reap(&table, content % 3000);
    else if (number < 300)
        return clear();
    return true;
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    random_state = strtoull(words[1], NULL, 10);
    uint32_t steps = (uint32_t)strtoul(words[2], NULL, 10);
    for (until_failure = 0; !item_table_init(&table, &slabs, random_state); until_failure = (long)failures)
        ;
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t kind = chance(1000), number = chance(KEYS), content = 1 + chance(1 << 20);
        uint32_t puts = i / (3 * KEYS) % 2 ? 300 : 700; /* it grows, and shrinks again */
        bool done = false;
        for (long fail = 0; !done; fail++) {
            until_failure = fail;
            done = step(kind, number, content, puts);
            check_sums();
        }
        until_failure = -1;
        if (i % 2000 == 0)
            check_all();
    }
    check_all();
    for (uint32_t which = 0; which < IMAGES; which++)
        if (images[which].is_open)
            toggle(which);
    check_all();
    item_table_reap(&table, UINT64_MAX);
    check(!table.retired_count && !table.retired_bytes, "retired items stay");
    item_table_free(&table);
    check(!blocks && !slabs.block_bytes, "memory is left");
    printf("%llu failures\n", (unsigned long long)failures);
    return 0;
}
