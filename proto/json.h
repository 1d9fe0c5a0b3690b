/*
 * JSON documents: reading with limits and named errors, canonical writing. Values are Jansson's
 * json_t, and its accessors (json_object_get, json_decref, ...) are used directly; this header adds
 * what every reader of untrusted JSON needs. Nothing here is shared between threads but by the
 * caller.
 *
 *     struct json_reader r = {.where = path, .e = e};
 *     TRY(json_read_file(path, &root, e));
 *     width = json_get_int(&r, root, "width", 8, 4096);     // required
 *     TRY(r.rc);
 */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "proto/buf.h"
#include "proto/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define JSON_FILE_MAX (256u << 20) /* bytes */

/*
 * Parses UTF-8 text, duplicate keys refused. -Infinity, Infinity and NaN as bare values, which
 * Python writes into scheduler_config.json, are read as null. ret_root: caller releases with
 * json_decref. Errors: ERR_INPUT with where:line:column.
 */
int json_read(const char *where, const char *text, size_t size, json_t **ret_root, struct err *e);
int json_read_file(const char *path, json_t **ret_root, struct err *e);

/* Appends RFC 8785 text (JSON Canonicalization Scheme): keys sorted, shortest numbers, no white
 * space. */
void json_canonical(const json_t *value, struct buf *ret_text);

/* Appends a JSON string, quoted and escaped as RFC 8785 says. s: UTF-8. */
void json_put_string(struct buf *b, const char *s, size_t size);

/*
 * Typed members of an object. The first failure is kept in rc and e ("where: 'width' must be ..."),
 * later calls return the default; check rc once at the end. A default makes the member optional
 * (missing or null); bounds are inclusive and hold for given values.
 */
struct json_reader {
    const char *where; /* named in errors */
    struct err *e;
    int rc;
};

int64_t json_get_int(struct json_reader *r, const json_t *object, const char *key, int64_t min,
                     int64_t max);
int64_t json_get_int_or(struct json_reader *r, const json_t *object, const char *key, int64_t min,
                        int64_t max, int64_t otherwise);
double json_get_real_or(struct json_reader *r, const json_t *object, const char *key,
                        double otherwise); /* finite */
bool json_get_bool_or(struct json_reader *r, const json_t *object, const char *key, bool otherwise);

/* Borrowed from the object. Without NUL inside. */
const char *json_get_string(struct json_reader *r, const json_t *object, const char *key);
const char *json_get_string_or(struct json_reader *r, const json_t *object, const char *key,
                               const char *otherwise);

#endif
