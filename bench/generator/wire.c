/* Keys, values, requests and replies of the load, in both protocols. */
#define _GNU_SOURCE
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN = 1 << 16 };

struct found found;

struct keys {
    uint32_t *own;
    uint32_t count, filled;
};

static struct keys of_server[SERVERS_MAX];
static char *pattern;

static uint32_t draw(void) {
    static uint64_t state;
    if (!state) state = want.seed * 0x9e3779b97f4a7c15ull | 1;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32);
}

static uint32_t below(uint32_t end) { return (uint32_t)((uint64_t)draw() * end >> 32); }

/* --- keys and values */

static void write_key(char *to, uint32_t key) {
    memcpy(to, "key:", 4);
    for (int at = KEY_BYTES - 1; at >= 4; at--, key /= 10) to[at] = (char)('0' + key % 10);
}

static const char *value_of(uint32_t key) { return pattern + (key * 40503u & (PATTERN - 1)); }

static void make_pattern(void) {
    pattern = reserve(PATTERN + want.value_bytes, 1);
    for (size_t at = 0; at < PATTERN + want.value_bytes; at++) pattern[at] = (char)('a' + below(26));
}

static uint32_t any_key(const struct connection *one) {
    const struct keys *keys = &of_server[one->server];
    return want.owners ? keys->own[below(keys->count)] : below(want.keys);
}

/* Keys that are to be stored still: each server has its own, or all of them share one series. */
int next_to_fill(const struct connection *one, uint32_t *key) {
    struct keys *keys = &of_server[want.owners ? one->server : 0];
    if (keys->filled >= (want.owners ? keys->count : want.keys)) return 0;
    *key = want.owners ? keys->own[keys->filled] : keys->filled;
    keys->filled++;
    return 1;
}

static void read_owners(void) {
    FILE *file = fopen(want.owners, "r");
    if (!file) fail(want.owners);
    for (int at = 0; at < want.servers; at++) of_server[at].own = reserve(want.keys, sizeof(uint32_t));
    for (uint32_t key = 0; key < want.keys; key++) {
        int server;
        if (fscanf(file, "%d", &server) != 1 || server < 0 || server >= want.servers) {
            fprintf(stderr, "%s: no owner of key %u among the ports\n", want.owners, key);
            exit(2);
        }
        of_server[server].own[of_server[server].count++] = key;
    }
    fclose(file);
}

/* --- requests */

static void append(struct connection *one, const char *data, size_t size) {
    memcpy(one->out + one->out_used, data, size);
    one->out_used += size;
}

static void append_text(struct connection *one, const char *text) { append(one, text, strlen(text)); }

static void append_key(struct connection *one, uint32_t key) {
    write_key(one->out + one->out_used, key);
    one->out_used += KEY_BYTES;
}

static void append_set(struct connection *one, uint32_t key) {
    char line[64];
    if (want.resp) {
        append_text(one, "*3\r\n$3\r\nSET\r\n$14\r\n");
        append_key(one, key);
        append(one, line, (size_t)sprintf(line, "\r\n$%zu\r\n", want.value_bytes));
    } else {
        append_text(one, "set ");
        append_key(one, key);
        append(one, line, (size_t)sprintf(line, " 0 0 %zu\r\n", want.value_bytes));
    }
    append(one, value_of(key), want.value_bytes);
    append_text(one, "\r\n");
}

static void append_get(struct connection *one, const uint32_t *keys, int count) {
    if (want.resp) {
        append_text(one, "*2\r\n$3\r\nGET\r\n$14\r\n");
        append_key(one, keys[0]);
    } else {
        append_text(one, "get");
        for (int at = 0; at < count; at++) {
            append_text(one, " ");
            append_key(one, keys[at]);
        }
    }
    append_text(one, "\r\n");
}

void ask(struct connection *one, int kind, uint32_t first, uint64_t at_ns) {
    unsigned place = (one->head + one->under_way++) % room;
    struct request *request = &one->requests[place];
    uint32_t *keys = one->asked + (size_t)place * (size_t)want.keys_per_get;
    request->sent_ns = at_ns;
    request->kind = kind;
    request->count = kind == GET ? want.keys_per_get : 1;
    keys[0] = first;
    for (int at = 1; at < request->count; at++) keys[at] = any_key(one);
    if (kind == SET) append_set(one, first);
    else append_get(one, keys, request->count);
}

void ask_any(struct connection *one, uint64_t at_ns) {
    int kind = want.gets >= 1 || draw() < want.gets * 4294967296.0 ? GET : SET;
    ask(one, kind, any_key(one), at_ns);
}

/* --- replies: each reader returns the bytes of a whole reply, or 0 when more have to come */

void note(const char *what, const char *line, size_t size) {
    char *said = found.first_error;
    if (said[0]) return;
    said += sprintf(said, "%.40s: ", what);
    for (size_t at = 0; at < size && at < 100; at++) {
        int goes = line[at] >= ' ' && line[at] <= '~' && line[at] != '"' && line[at] != '\\';
        *said++ = goes ? line[at] : '?'; /* it goes into JSON as it is */
    }
}

static size_t unexpected(const char *data, size_t size) {
    const char *end = memmem(data, size, "\r\n", 2);
    if (!end) {
        if (size < 1024) return 0;
        end = data + size - 2;
    }
    size_t line = (size_t)(end - data);
    if ((line && data[0] == '-') || (line == 5 && !memcmp(data, "ERROR", 5)) || memmem(data, line, "_ERROR", 6)) {
        found.errors++;
        note("error", data, line);
    } else {
        found.wrong++;
        found.broken = 1;
        note("wrong reply", data, line);
    }
    return line + 2;
}

static size_t line_of(const char *data, size_t size, const char *expected, size_t length) {
    size_t shared = size < length ? size : length;
    if (memcmp(data, expected, shared)) return unexpected(data, size);
    return size < length ? 0 : length;
}

static void check_value(const char *data, uint32_t key) {
    if (!memcmp(data, value_of(key), want.value_bytes) && !memcmp(data + want.value_bytes, "\r\n", 2)) return;
    found.wrong++;
    note("wrong value", data, want.value_bytes);
}

static size_t read_bulk(const char *data, size_t size, uint32_t key) {
    char head[32];
    if (size >= 5 && !memcmp(data, "$-1\r\n", 5)) {
        found.misses++;
        return 5;
    }
    size_t length = (size_t)sprintf(head, "$%zu\r\n", want.value_bytes);
    if (memcmp(data, head, size < length ? size : length)) return unexpected(data, size);
    if (size < length + want.value_bytes + 2) return 0;
    check_value(data + length, key);
    return length + want.value_bytes + 2;
}

static size_t read_values(const char *data, size_t size, const uint32_t *keys, int count) {
    char tail[32];
    size_t tail_bytes = (size_t)sprintf(tail, " 0 %zu\r\n", want.value_bytes);
    size_t head_bytes = 6 + KEY_BYTES + tail_bytes, value_bytes = want.value_bytes + 2, at = 0;
    int next = 0, missed = 0;
    /* A reply that is not whole yet is read again from its beginning. */
    for (;;) {
        if (size - at < 5) return 0;
        if (!memcmp(data + at, "END\r\n", 5)) {
            found.misses += (uint64_t)(missed + count - next);
            return at + 5;
        }
        if (memcmp(data + at, "VALUE", 5)) {
            size_t used = unexpected(data + at, size - at);
            return used ? at + used : 0;
        }
        if (size - at < head_bytes) return 0;
        char key[KEY_BYTES];
        for (; next < count; next++, missed++) {
            write_key(key, keys[next]);
            if (!memcmp(data + at + 6, key, KEY_BYTES)) break;
        }
        if (next == count || memcmp(data + at + 6 + KEY_BYTES, tail, tail_bytes)) return unexpected(data + at, size - at);
        if (size - at < head_bytes + value_bytes) return 0;
        check_value(data + at + head_bytes, keys[next++]);
        at += head_bytes + value_bytes;
    }
}

size_t read_reply(const struct connection *one, const char *data, size_t size) {
    const struct request *request = &one->requests[one->head];
    const uint32_t *keys = one->asked + (size_t)one->head * (size_t)want.keys_per_get;
    if (!size) return 0;
    if (request->kind == SET) return want.resp ? line_of(data, size, "+OK\r\n", 5) : line_of(data, size, "STORED\r\n", 8);
    return want.resp ? read_bulk(data, size, keys[0]) : read_values(data, size, keys, request->count);
}

/* --- bounds of the buffers */

size_t request_bytes_max(void) { return 64 + want.value_bytes + (size_t)want.keys_per_get * (KEY_BYTES + 1); }

size_t reply_bytes_max(void) { return 64 + (size_t)want.keys_per_get * (want.value_bytes + 64); }

void prepare_keys(void) {
    make_pattern();
    if (!want.owners) return;
    read_owners();
    for (int at = 0; at < want.servers; at++)
        if (of_server[at].count == 0) {
            fprintf(stderr, "%s: port %d owns no key\n", want.owners, want.ports[at]);
            exit(2);
        }
}
