/* What the two halves of the load share: the arguments, connections, and what was found in replies. */
#ifndef QUORUMCACHE_GENERATOR_H
#define QUORUMCACHE_GENERATOR_H

#include <stddef.h>
#include <stdint.h>

enum { GET, SET, KINDS };
enum { SERVERS_MAX = 64, KEY_BYTES = 14 };

struct arguments {
    int ports[SERVERS_MAX], servers, connections, depth, keys_per_get, resp, fill;
    uint32_t keys;
    size_t value_bytes;
    double seconds, warm_up, gets;
    const char *owners;
    uint64_t seed;
};

struct request {
    uint64_t sent_ns;
    int kind, count;
};

struct connection {
    int fd, server, waits_to_send;
    struct request *requests; /* a ring of `room`, oldest at `head` */
    uint32_t *asked;          /* the keys of each: keys_per_get for each place of the ring */
    unsigned head, under_way;
    char *in, *out;
    size_t in_used, out_used, out_sent;
};

/* `broken`: a reply that cannot be told from the next one, so nothing can be read any more. */
struct found {
    uint64_t errors, wrong, misses;
    char first_error[160];
    int broken;
};

/* generator.c */
extern struct arguments want;
extern unsigned room; /* requests that a connection may have under way */
_Noreturn void fail(const char *what);
void *reserve(size_t count, size_t size);

/* wire.c */
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
