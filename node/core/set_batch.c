/* See set_batch.h. */

#include "set_batch.h"

enum {
    BATCH_FIELDS = 5,
    SET_FIELDS = 7,
    /* First bytes of msgpack values. */
    FIX_ARRAY = 0x90,
    ARRAY_16 = 0xDC,
    ARRAY_32 = 0xDD,
    BIN_8 = 0xC4,
    BIN_32 = 0xC6,
    UINT_8 = 0xCC,
    UINT_64 = 0xCF,
    FIX_INT_MAX = 0x7F
};

static const uint64_t TIME_MS_MAX = (uint64_t)1 << 60; /* as in cluster_time.py */

/* `width` bytes, big endian. NULL: there are not so many. */
static const unsigned char *read_be(const unsigned char *at, const unsigned char *end, unsigned width,
                                    uint64_t *value)
{
    if (at == NULL || (size_t)(end - at) < width)
        return NULL;
    uint64_t found = 0;
    for (unsigned i = 0; i < width; i++)
        found = found << 8 | at[i];
    *value = found;
    return at + width;
}

/* A number from 0 to 2^63 - 1. `at` may be NULL, here and below: then so is the answer. */
static const unsigned char *read_number(const unsigned char *at, const unsigned char *end, uint64_t *value)
{
    if (at == NULL || at == end)
        return NULL;
    unsigned kind = *at++;
    if (kind <= FIX_INT_MAX) {
        *value = kind;
        return at;
    }
    if (kind < UINT_8 || kind > UINT_64)
        return NULL;
    at = read_be(at, end, 1u << (kind - UINT_8), value);
    return at == NULL || *value >> 63 ? NULL : at;
}

static const unsigned char *read_array(const unsigned char *at, const unsigned char *end, uint64_t *count)
{
    if (at == NULL || at == end)
        return NULL;
    unsigned kind = *at++;
    if ((kind & 0xF0) == FIX_ARRAY) {
        *count = kind & 0x0F;
        return at;
    }
    if (kind != ARRAY_16 && kind != ARRAY_32)
        return NULL;
    return read_be(at, end, kind == ARRAY_16 ? 2 : 4, count);
}

static const unsigned char *read_bin(const unsigned char *at, const unsigned char *end,
                                     const unsigned char **data, size_t *length)
{
    if (at == NULL || at == end)
        return NULL;
    unsigned kind = *at++;
    if (kind < BIN_8 || kind > BIN_32)
        return NULL;
    uint64_t size;
    at = read_be(at, end, 1u << (kind - BIN_8), &size);
    if (at == NULL || (uint64_t)(end - at) < size)
        return NULL;
    *data = at;
    *length = (size_t)size;
    return at + size;
}

const unsigned char *plain_set_read(const unsigned char *at, const unsigned char *end, plain_set *set)
{
    if (at == end || *at != (FIX_ARRAY | SET_FIELDS))
        return NULL;
    at = read_number(at + 1, end, &set->session);
    at = read_number(at, end, &set->sequence);
    at = read_number(at, end, &set->floor);
    if (at == NULL || at == end || *at != PLAIN_OP)
        return NULL;
    at = read_bin(at + 1, end, &set->key, &set->key_length);
    at = read_bin(at, end, &set->data, &set->data_length);
    at = read_number(at, end, &set->exptime);
    if (at == NULL || set->key_length < 1 || set->key_length > KEY_BYTES_MAX || set->data_length < 1 ||
        set->data_length > UINT32_MAX - PACKED_HEAD_BYTES || set->data[set->data_length - 1] != '\n' || set->exptime > SPAN_SECONDS_MAX)
        return NULL;
    return at;
}

/* Count a command with those of its session, which becomes the last one. False: it does not go with them. */
static bool count_in_run(set_batch *batch, const plain_set *set)
{
    uint32_t at = batch->run_count;
    while (at > 0 && batch->runs[at - 1].session != set->session)
        at--;
    if (at == 0) {
        if (batch->run_count == SET_RUNS_MAX || set->floor > set->sequence)
            return false;
        batch->runs[batch->run_count++] = (set_run){set->session, set->sequence, 1, set->floor};
        return true;
    }
    set_run run = batch->runs[at - 1];
    if (set->sequence != run.first + run.count || set->floor > run.first)
        return false;
    run.count++;
    if (set->floor > run.floor)
        run.floor = set->floor;
    for (; at < batch->run_count; at++)
        batch->runs[at - 1] = batch->runs[at];
    batch->runs[at - 1] = run;
    return true;
}

bool set_batch_open(const unsigned char *payload, size_t length, set_batch *batch)
{
    const unsigned char *at = payload, *end = payload + length;
    uint64_t fields, version;
    at = read_array(at, end, &fields);
    at = read_number(at, end, &version);
    at = read_number(at, end, &batch->now_ms);
    at = read_number(at, end, &batch->wall_ms);
    at = read_number(at, end, &batch->item_bytes_max);
    at = read_array(at, end, &batch->count);
    batch->commands = at;
    return at != NULL && fields == BATCH_FIELDS && version == PLAIN_VERSION && batch->now_ms <= TIME_MS_MAX &&
           batch->wall_ms <= TIME_MS_MAX && batch->count;
}

bool set_batch_read(const unsigned char *payload, size_t length, const item_table *table, set_batch *batch)
{
    if (!set_batch_open(payload, length, batch))
        return false;
    const unsigned char *at = batch->commands, *end = payload + length;
    batch->has_ends = false;
    batch->run_count = 0;
    batch->warm = 0;
    for (uint64_t i = 0; i < batch->count; i++) {
        plain_set set;
        at = plain_set_read(at, end, &set);
        if (at == NULL || (set.session && !count_in_run(batch, &set)))
            return false;
        if (set.exptime)
            batch->has_ends = true;
        if (batch->warm < WARM_MAX) {
            uint64_t hash = item_index_hash(&table->index, set.key, set.key_length);
            item_index_warm(&table->index, hash, WARM_ENTRY);
            batch->hashes[batch->warm++] = hash;
        }
    }
    return at == end;
}

put_outcome plain_set_place(item_table *table, const plain_set *set, uint64_t unique, uint64_t now_ms,
                            uint32_t now_s, item **old)
{
    item_parts parts = {.cas = unique};
    if (set->exptime) {
        parts.bits = BIT_ENDS;
        parts.expires_at_ms = now_ms + set->exptime * 1000;
    }
    item_parse_text(set->data, set->data_length, &parts);
    return item_table_put(table, set->key, set->key_length, &parts, now_s, old);
}
