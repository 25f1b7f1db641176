/* See key_token.h. */

#include "key_token.h"

#include <string.h>

static uint64_t read_le64(const unsigned char *from)
{
    uint64_t word;
    memcpy(&word, from, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static uint64_t rotated(uint64_t word, int by) { return word << by | word >> (64 - by); }

static uint64_t mixed(uint64_t word)
{
    word ^= word >> 33;
    word *= UINT64_C(0xFF51AFD7ED558CCD);
    word ^= word >> 33;
    word *= UINT64_C(0xC4CEB9FE1A85EC53);
    return word ^ word >> 33;
}

uint64_t key_token(const unsigned char *key, size_t length)
{
    const uint64_t c1 = UINT64_C(0x87C37B91114253D5), c2 = UINT64_C(0x4CF5AD432745937F);
    uint64_t h1 = 0, h2 = 0, k1, k2;
    size_t left = length;
    for (; left >= 16; left -= 16, key += 16) {
        k1 = read_le64(key);
        k2 = read_le64(key + 8);
        h1 ^= rotated(k1 * c1, 31) * c2;
        h1 = (rotated(h1, 27) + h2) * 5 + 0x52DCE729;
        h2 ^= rotated(k2 * c2, 33) * c1;
        h2 = (rotated(h2, 31) + h1) * 5 + 0x38495AB5;
    }
    unsigned char tail[16] = {0};
    if (left)
        memcpy(tail, key, left);
    k1 = read_le64(tail);
    k2 = read_le64(tail + 8); /* a word of zeros changes nothing */
    h2 ^= rotated(k2 * c2, 33) * c1;
    h1 ^= rotated(k1 * c1, 31) * c2;
    h1 ^= length;
    h2 ^= length;
    h1 += h2;
    h2 += h1;
    return mixed(h1) + mixed(h2);
}
