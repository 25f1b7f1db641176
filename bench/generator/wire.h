/* The two protocols: requests into connections, and replies that are checked. */
#ifndef QUORUMCACHE_WIRE_H
#define QUORUMCACHE_WIRE_H

#include "load.h"

/* `broken`: a reply that cannot be told from the next one, so nothing can be read any more. */
struct found {
    uint64_t errors, wrong, misses;
    char first_error[160];
    int broken;
};

extern struct found found;
void prepare_keys(void);
int next_to_fill(const struct connection *one, uint32_t *key);
void ask(struct connection *one, int kind, uint32_t first, uint64_t at_ns);
void ask_any(struct connection *one, uint64_t at_ns);
size_t read_reply(const struct connection *one, const char *data, size_t size);
void note(const char *what, const char *line, size_t size);
size_t request_bytes_max(void);
size_t reply_bytes_max(void);

#endif
