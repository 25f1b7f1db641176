/* Where a key belongs. */

#ifndef QUORUMCACHE_KEY_TOKEN_H
#define QUORUMCACHE_KEY_TOKEN_H

#include <stddef.h>
#include <stdint.h>

/* The first word of MurmurHash3_x64_128, seed 0: see ring/hashing.py. */
uint64_t key_token(const unsigned char *key, size_t length);

/* The shard of a key, of `1 << shard_bits`. */
static inline uint32_t shard_of_key(const unsigned char *key, size_t length, unsigned shard_bits)
{
    return shard_bits ? (uint32_t)(key_token(key, length) >> (64 - shard_bits)) : 0;
}

#endif
