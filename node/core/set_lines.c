/* See set_lines.h. */

#include "set_lines.h"

#include <string.h>

enum { DIGITS_MAX = 9 };

static const char WORD[] = "set ";
static const char NOREPLY[] = " noreply";

/* Read digits from `at` on, one to nine of them. What follows them; NULL: there are none, or too many. */
static const unsigned char *read_digits(const unsigned char *at, const unsigned char *end, uint32_t *number)
{
    const unsigned char *first = at;
    uint32_t read = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        if (at - first == DIGITS_MAX)
            return NULL;
        read = read * 10 + (uint32_t)(*at++ - '0');
    }
    *number = read;
    return at == first ? NULL : at;
}

/* The same behind a space. */
static const unsigned char *read_word(const unsigned char *at, const unsigned char *end, uint32_t *number)
{
    return at < end && *at == ' ' ? read_digits(at + 1, end, number) : NULL;
}

static bool begins_with(const unsigned char *at, const unsigned char *end, const char *text, size_t length)
{
    return (size_t)(end - at) >= length && !memcmp(at, text, length);
}

bool read_plain_set(const unsigned char *data, size_t length, size_t value_max, plain_set *found)
{
    const unsigned char *at = data, *end = data + length;
    uint32_t value_length;
    if (!begins_with(at, end, WORD, sizeof WORD - 1))
        return false;
    at += sizeof WORD - 1;
    found->key = at;
    while (at < end && *at != ' ' && *at != '\n')
        at++;
    found->key_length = (size_t)(at - found->key);
    if (!found->key_length || found->key_length > SET_KEY_BYTES_MAX)
        return false;
    if ((at = read_word(at, end, &found->flags)) == NULL || (at = read_word(at, end, &found->exptime)) == NULL ||
        (at = read_word(at, end, &value_length)) == NULL)
        return false;
    found->noreply = begins_with(at, end, NOREPLY, sizeof NOREPLY - 1);
    if (found->noreply)
        at += sizeof NOREPLY - 1;
    if (!begins_with(at, end, "\r\n", 2))
        return false;
    at += 2;
    if (value_length > value_max || (size_t)(end - at) < (size_t)value_length + 2)
        return false;
    found->value = at;
    found->value_length = value_length;
    at += value_length;
    if (!begins_with(at, end, "\r\n", 2))
        return false;
    found->consumed = (size_t)(at + 2 - data);
    return true;
}

static unsigned char *write_number(uint32_t number, unsigned char *out)
{
    unsigned char digits[DIGITS_MAX];
    size_t count = 0;
    do {
        digits[count++] = (unsigned char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (count)
        *out++ = digits[--count];
    return out;
}

size_t write_set_head(const plain_set *found, unsigned char *out)
{
    unsigned char *at = out;
    *at++ = ' ';
    at = write_number(found->flags, at);
    *at++ = ' ';
    at = write_number((uint32_t)found->value_length, at);
    *at++ = '\r';
    *at++ = '\n';
    return (size_t)(at - out);
}
