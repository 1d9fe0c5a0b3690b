/*
 * The metadata row of one settled task: a picture, or a named failure. Plain data, shared by the
 * reactor (makes it), the store (keeps it), index.jsonl (shows it) and `records` (sends it).
 */
#ifndef COORDINATOR_RECORD_H
#define COORDINATOR_RECORD_H

#include "proto/err.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stdint.h>

/* Which tasks of a job are done again: their records are taken back. */
enum reopen {
    REOPEN_MISSING, /* failures, and pictures whose file is gone */
    REOPEN_CHANGED, /* the same, and pictures whose task has another hash now */
    REOPEN_FAILED,  /* failures alone: no file is looked for */
    REOPEN_ALL
};

struct record {
    uint64_t index;
    uint32_t attempt; /* that settled it; 0: the picture was found in the output folder */
    bool failed;      /* then code and text say why, else the picture's fields hold */
    char *path;       /* relative to the output folder; owned, and every string here with it */
    char sha256[HASH_HEX_SIZE];
    char task_hash[HASH_HEX_SIZE]; /* of the task with its files by content; "": unknown */
    char before[HASH_HEX_SIZE];    /* of a chain's later frame: the picture it started from; "" */
    uint64_t bytes;                /* of the file */
    char *worker;                  /* name; "" for a found picture */
    char *device_class;
    char *precision;
    double load_seconds; /* opening the model, 0 when it was resident */
    double render_seconds;
    int64_t finished_ms; /* wall clock, ms since 1970 */
    char *code;          /* err_name(); "" for a picture */
    char *text;
};

/* Sets the strings, NULL as "". Strings already there are released. */
int record_picture(struct record *r, const char *path, const char *worker, const char *device_class,
                   const char *precision, struct err *e);
int record_failure(struct record *r, const char *worker, const char *code, const char *text,
                   struct err *e);

void record_done(struct record *r);

#endif
