/* What the load and its wire share: the arguments, what a connection is, and an end when something fails. */
#ifndef QUORUMCACHE_LOAD_H
#define QUORUMCACHE_LOAD_H

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

extern struct arguments want;
extern unsigned room; /* requests that a connection may have under way */
_Noreturn void fail(const char *what);
void *reserve(size_t count, size_t size);

#endif
