/* See pack_batch.h. */

#include "pack_batch.h"

/* The lowest `count` bytes of a number, the highest of them first. */
static unsigned char *put(unsigned char *out, uint64_t number, unsigned count)
{
    while (count--)
        *out++ = (unsigned char)(number >> 8 * count);
    return out;
}

/* How many bytes such a number takes behind its first one, as a power of two from 1 to 8; 0: it is in that. */
static unsigned width_of(bool is_negative, uint64_t bits)
{
    /* Of a negative one, its complement: that has as many bits as it needs beside its sign. */
    uint64_t reach = is_negative ? ~bits : bits;
    unsigned spare = is_negative; /* a bit for the sign */
    if (reach < (is_negative ? 32U : 128U))
        return 0;
    if (reach < UINT64_C(1) << (8 - spare))
        return 1;
    if (reach < UINT64_C(1) << (16 - spare))
        return 2;
    return reach < UINT64_C(1) << (32 - spare) ? 4 : 8;
}

size_t packed_int_bytes(bool is_negative, uint64_t bits) { return 1 + width_of(is_negative, bits); }

unsigned char *pack_int(unsigned char *out, bool is_negative, uint64_t bits)
{
    unsigned width = width_of(is_negative, bits), order = 0;
    if (!width)
        return put(out, bits, 1);
    while (1U << order < width)
        order++;
    *out++ = (unsigned char)((is_negative ? 0xD0 : 0xCC) + order);
    return put(out, bits, width);
}

size_t packed_bytes_head(size_t length) { return length < 1U << 8 ? 2 : length < 1U << 16 ? 3 : 5; }

unsigned char *pack_bytes_head(unsigned char *out, size_t length)
{
    unsigned width = (unsigned)packed_bytes_head(length) - 1;
    *out++ = width == 1 ? 0xC4 : width == 2 ? 0xC5 : 0xC6;
    return put(out, length, width);
}

size_t packed_array_head(size_t count) { return count < 16 ? 1 : count < 1U << 16 ? 3 : 5; }

unsigned char *pack_array_head(unsigned char *out, size_t count)
{
    unsigned width = (unsigned)packed_array_head(count) - 1;
    if (!width)
        return put(out, 0x90 | count, 1);
    *out++ = width == 2 ? 0xDC : 0xDD;
    return put(out, count, width);
}
