/*
 * The messages' keys as data: for every message and row one table of fields, from which msg.c packs
 * and unpacks. A new message is a struct and a row in MSG_TABLE (msg.h) and a table here.
 * Read-only; any thread. Private to proto/: other rooms use msg.h.
 */
#ifndef PROTO_MSG_TABLE_H
#define PROTO_MSG_TABLE_H

#include "proto/msg.h"

enum field_kind {
    FIELD_UINT32, /* uint32_t, min..max */
    FIELD_UINT64, /* uint64_t, min..max */
    FIELD_REAL,   /* double, finite */
    FIELD_BOOL,   /* bool */
    FIELD_STRING, /* const char *, min..max bytes */
    FIELD_HASH,   /* char[HASH_HEX_SIZE]; "" where optional */
    FIELD_BYTES,  /* const void * and size_t, min..max bytes */
    FIELD_MAP,    /* a nested struct, by value */
    FIELD_LIST    /* pointer to structs and size_t, at most max */
};

struct field {
    const char *key;
    size_t key_size;
    enum field_kind kind;
    size_t offset;       /* of the member in its struct */
    size_t count_offset; /* FIELD_BYTES, FIELD_LIST: of the size_t that counts */
    uint64_t min, max;
    bool optional;             /* may be missing: 0, false, "", empty list */
    bool prose;                /* for people: the sender replaces bytes that are not UTF-8 by '?' */
    const struct fields *rows; /* FIELD_MAP, FIELD_LIST */
};

struct fields {
    size_t size; /* bytes of the struct */
    size_t n;    /* at most 32 */
    const struct field *at;
};

/* Every member of the union starts where the first does. */
#define MSG_UNION offsetof(struct msg, hello)

/* 64 lowercase hex digits. */
bool msg_is_hash(const char *text, size_t size);

/* The fields of a message beside `type`. */
const struct fields *msg_fields(enum msg_type type);

#endif
