#include "proto/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX                                                                                  \
    200 /* nesting of a document that json_canonical walks; Jansson's own limit is 2048 */

/* Text with the bare words that Python writes for non-finite numbers replaced by null. */
static void without_infinities(const char *text, size_t size, struct buf *ret_text)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool in_string = false;
    size_t i = 0;

    while (i < size) {
        size_t taken = 1, word = 0;

        if (text[i] == '"')
            in_string = !in_string;
        else if (in_string && text[i] == '\\' && i + 1 < size)
            taken = 2;
        for (size_t k = 0; !in_string && !word && k < 3; k++) {
            size_t n = strlen(words[k]);

            if (size - i >= n && memcmp(text + i, words[k], n) == 0)
                word = n;
        }
        if (word)
            buf_puts(ret_text, "null");
        else
            buf_append(ret_text, text + i, taken);
        i += word ? word : taken;
    }
}

int json_read(const char *where, const char *text, size_t size, json_t **ret_root, struct err *e)
{
    json_error_t error;
    struct buf copy = {0};
    json_t *root;
    int rc;

    without_infinities(text, size, &copy);
    TRY(buf_check(&copy, e));
    root = json_loadb(buf_text(&copy), copy.size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        TRY(err_set(e, ERR_INPUT, "%s:%d:%d: %s", where, error.line, error.column, error.text));
    *ret_root = root;
out:
    buf_done(&copy);
    return rc;
}

int json_read_file(const char *path, json_t **ret_root, struct err *e)
{
    struct buf text = {0};
    int rc;

    TRY(buf_read_file(&text, path, JSON_FILE_MAX, e));
    TRY(json_read(path, buf_text(&text), text.size, ret_root, e));
out:
    buf_done(&text);
    return rc;
}

void json_put_string(struct buf *b, const char *s, size_t size)
{
    static const char shorts[] = "btn\0fr"; /* 8..13 */
    size_t plain = 0;                       /* bytes not appended yet, before i */

    buf_putc(b, '"');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c >= 32 && c != '"' && c != '\\') {
            plain++;
            continue;
        }
        buf_append(b, s + i - plain, plain);
        plain = 0;
        if (c >= 32)
            buf_printf(b, "\\%c", c);
        else if (c >= 8 && c <= 13 && c != 11)
            buf_printf(b, "\\%c", shorts[c - 8]);
        else
            buf_printf(b, "\\u%04x", c);
    }
    buf_append(b, s + size - plain, plain);
    buf_putc(b, '"');
}

/* Order of UTF-16 code units, as RFC 8785 asks: differs from UTF-8's only beyond the basic plane.
 */
static int compare_keys(const void *a, const void *b)
{
    const unsigned char *x = *(const unsigned char *const *)a,
                        *y = *(const unsigned char *const *)b;

    while (*x && *x == *y)
        x++, y++;
    if (*x >= 0xf0 && *y >= 0xee && *y < 0xf0)
        return -1;
    if (*y >= 0xf0 && *x >= 0xee && *x < 0xf0)
        return 1;
    return *x - *y;
}

static void put_value(struct buf *b, const json_t *v, int depth);

static void put_object(struct buf *b, const json_t *v, int depth)
{
    size_t n = json_object_size(v), i = 0;
    const char **keys = calloc(n ? n : 1, sizeof *keys);
    const char *key;
    json_t *item;

    if (!keys) {
        b->failed = true;
        return;
    }
    json_object_foreach((json_t *)v, key, item) keys[i++] = key;
    qsort(keys, n, sizeof *keys, compare_keys);
    buf_putc(b, '{');
    for (i = 0; i < n; i++) {
        if (i)
            buf_putc(b, ',');
        json_put_string(b, keys[i], strlen(keys[i]));
        buf_putc(b, ':');
        put_value(b, json_object_get(v, keys[i]), depth + 1);
    }
    buf_putc(b, '}');
    free(keys);
}

static void put_value(struct buf *b, const json_t *v, int depth)
{
    if (depth > DEPTH_MAX) {
        b->failed = true;
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        put_object(b, v, depth);
        break;
    case JSON_ARRAY:
        buf_putc(b, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i)
                buf_putc(b, ',');
            put_value(b, json_array_get(v, i), depth + 1);
        }
        buf_putc(b, ']');
        break;
    case JSON_STRING:
        json_put_string(b, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        buf_number(b, json_real_value(v));
        break;
    default:
        buf_puts(b, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "null");
    }
}

void json_canonical(const json_t *value, struct buf *ret_text)
{
    put_value(ret_text, value, 0);
}

static int fail(struct json_reader *r, const char *key, const char *must)
{
    if (r->rc == 0)
        r->rc = err_set(r->e, ERR_INPUT, "%s: '%s' must be %s", r->where, key, must);
    return r->rc;
}

static const json_t *given(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return json_is_null(v) ? NULL : v;
}

int64_t json_get_int_or(struct json_reader *r, const json_t *object, const char *key, int64_t min,
                        int64_t max, int64_t otherwise)
{
    const json_t *v = given(object, key);
    char must[96];
    int64_t n;

    if (r->rc || !v)
        return otherwise;
    n = json_integer_value(v);
    if (json_is_real(v) && fabs(json_real_value(v)) < 9e15 &&
        json_real_value(v) == floor(json_real_value(v)))
        n = (int64_t)json_real_value(v);
    else if (!json_is_integer(v))
        n = min - (min > INT64_MIN);
    if (n < min || n > max || (!json_is_integer(v) && !json_is_real(v))) {
        snprintf(must, sizeof must, "a whole number from %" PRId64 " to %" PRId64, min, max);
        fail(r, key, must);
        return otherwise;
    }
    return n;
}

int64_t json_get_int(struct json_reader *r, const json_t *object, const char *key, int64_t min,
                     int64_t max)
{
    if (!given(object, key))
        fail(r, key, "given");
    return json_get_int_or(r, object, key, min, max, min);
}

double json_get_real_or(struct json_reader *r, const json_t *object, const char *key,
                        double otherwise)
{
    const json_t *v = given(object, key);

    if (r->rc || !v)
        return otherwise;
    if (!json_is_number(v)) {
        fail(r, key, "a number");
        return otherwise;
    }
    return json_number_value(v);
}

bool json_get_bool_or(struct json_reader *r, const json_t *object, const char *key, bool otherwise)
{
    const json_t *v = given(object, key);

    if (r->rc || !v)
        return otherwise;
    if (!json_is_boolean(v))
        fail(r, key, "true or false");
    return json_is_true(v);
}

const char *json_get_string_or(struct json_reader *r, const json_t *object, const char *key,
                               const char *otherwise)
{
    const json_t *v = given(object, key);

    if (r->rc || !v)
        return otherwise;
    if (!json_is_string(v)) {
        fail(r, key, "text");
        return otherwise;
    }
    return json_string_value(v); /* Jansson refuses NUL in strings by default */
}

const char *json_get_string(struct json_reader *r, const json_t *object, const char *key)
{
    if (!given(object, key))
        fail(r, key, "given");
    return json_get_string_or(r, object, key, "");
}
