/*
 * What the reactor wants done, in order: messages, files, rows, a sheet, log lines. The reactor
 * fills an outbox and never carries it out; coordinator/batch.h does, and a test reads it instead.
 *
 * What an outbox points to is its own: texts and frames lie in its pool and last until it is
 * cleared. Borrowed are only `job` pointers, which stay valid until the next tick.
 *
 * A batch of a thousand workers has ten thousand entries, and each is looked at some five times: so
 * what no entry needs at once shares its place.
 */
#ifndef COORDINATOR_OUTBOX_H
#define COORDINATOR_OUTBOX_H

#include "coordinator/asset_answer.h"
#include "coordinator/lost.h"
#include "coordinator/record.h"
#include "jobs/job.h"
#include "proto/link.h"
#include "proto/log.h"
#include "proto/msg.h"
#include "proto/pool.h"

/* A received picture on its way to the disk. Owned by whoever holds it: outbox, event, coord. */
struct delivery {
    struct delivery *next; /* of the list of stuck ones */
    uint64_t job;          /* number */
    uint64_t index;
    uint32_t attempt;
    struct peer peer; /* who waits for the ack */
    uint64_t session;
    char *path; /* relative to the output folder; owned */
    char *task; /* canonical JSON; owned */
    void *png;  /* owned */
    size_t png_size;
    int64_t width, height; /* that the task's picture has, pixels; 0: any */
    bool late;             /* of an attempt that was over, and is counted already */
    bool black;            /* every pixel is 0 */
    bool replace;          /* a picture of ours at the path is replaced */
    struct record record;  /* what will be recorded if it succeeds */
};

void delivery_free(struct delivery *d);

enum out_type {
    OUT_SEND,   /* a message, after the commit */
    OUT_OPEN,   /* make a new job's folder and job.json; answered by EVENT_OPENED */
    OUT_PROBE,  /* is the task's output path free? answered by EVENT_PROBED */
    OUT_WRITE,  /* a picture; answered by EVENT_WRITTEN */
    OUT_BEFORE, /* the record of the task's chain's frame before; answered by EVENT_BEFORE */
    OUT_STORE,  /* a row of the batch's transaction */
    OUT_REOPEN, /* load a settled job again from the store; answered by EVENT_RESTORED */
    OUT_ASSETS, /* a job's files from the store; answered by EVENT_ASSETS */
    OUT_SHEET,  /* draw the contact sheet, after the commit; answered by EVENT_DRAWN, later */
    OUT_ASSET,  /* find and hash a file or folder; answered by EVENT_ASSET, later */
    OUT_CHUNK,  /* send a worker a part of a file, or that it is gone */
    OUT_ANSWER, /* answer `records` or `fetch` from the store and the output folder */
    OUT_LOG
};

enum store_op {
    STORE_JOB,     /* a new job */
    STORE_STATE,   /* phase, counts, times and sheet of a job */
    STORE_ATTEMPT, /* attempt numbers of a task in flight */
    STORE_RECORD,  /* a settled task; its attempt row goes */
    STORE_ASSET,   /* a file that pictures of the job are made from: code (its role), text (name),
                      task_hash (the file's) */
    STORE_HISTORY, /* an attempt that gave no picture */
    STORE_FORGET,  /* a record whose picture another job replaced */
    STORE_REMOVE,  /* the job and all its rows, some of them later */
};

struct store_row {
    enum store_op op;
    uint64_t job; /* number */
    union {
        struct record record; /* STORE_RECORD */
        struct {
            /* STORE_JOB */
            const struct job *bundle; /* borrowed: see above */
            const char *folder;
            int64_t submitted_ms;
            const char *token; /* may be NULL */
            /* STORE_STATE, and the last three STORE_JOB */
            const char *state; /* static */
            const char *sheet; /* may be NULL */
            uint64_t done, failed;
            int64_t finished_ms;
            const char *reason; /* may be NULL */
            bool reopening;     /* STORE_STATE: what a slice of reopening noted stays */
            bool paused, force;
            uint32_t priority;
            /* STORE_ATTEMPT; STORE_HISTORY: index, attempts (the number), worker, finished_ms */
            uint64_t index;
            uint32_t attempts, tries;
            struct lost lost;              /* STORE_ATTEMPT */
            char task_hash[HASH_HEX_SIZE]; /* STORE_ATTEMPT: of the last one; "": unknown */
            const char *worker;            /* that holds the last attempt; "" when none does */
            /* STORE_HISTORY */
            const char *code; /* static */
            const char *text;
            int64_t started_ms;
        };
    };
};

struct out {
    enum out_type type;
    uint32_t limit;      /* OUT_ANSWER */
    uint64_t job, index; /* number of the job; OUT_PROBE, OUT_BEFORE, OUT_ANSWER (fetch) */
    union {
        struct { /* OUT_SEND, OUT_ANSWER, OUT_CHUNK */
            struct peer peer;
            union {
                struct { /* OUT_SEND */
                    enum msg_type message;
                    struct buf frame; /* the encoded message; not to be grown */
                };
                struct msg_want want;     /* OUT_CHUNK */
                struct {                  /* OUT_ANSWER */
                    enum msg_type answer; /* MSG_RECORDS, _FETCH, _HISTORY or _CHECK */
                    uint64_t request;
                    uint64_t from; /* records, check */
                };
            };
        };
        struct {                  /* OUT_PROBE, OUT_ASSET, OUT_REOPEN */
            const char *path;     /* OUT_PROBE: relative to the output folder; OUT_ASSET: the
                                     asset's name */
            const char *task;     /* OUT_PROBE: canonical JSON */
            struct listing files; /* OUT_PROBE: what the task's files are, as a picture's chunk
                                     names them */
            enum asset_role role; /* OUT_ASSET */
            enum reopen reopen;   /* OUT_REOPEN */
        };
        struct delivery *delivery; /* OUT_WRITE */
        struct store_row row;      /* OUT_STORE */
        struct {                   /* OUT_LOG */
            enum log_level level;
            const char *event; /* static word */
            const char *text;  /* key=value part */
        };
    };
};

/* Zeroed memory is an empty outbox. */
struct outbox {
    struct out *items;
    size_t n, room;
    size_t n_rows;      /* of them, OUT_STORE */
    struct pool pool;   /* what they point to */
    struct buf scratch; /* of outbox_send */
};

/* A zeroed entry of that type at the end; borrowed until the next addition. */
int outbox_add(struct outbox *o, enum out_type type, struct out **ret_out, struct err *e);

/* A copy that lasts as long as the entries do. NULL is copied as NULL. */
int outbox_text(struct outbox *o, const char *text, const char **ret_copy, struct err *e);

/* A message over a limit of the wire becomes a log line instead. */
int outbox_send(struct outbox *o, const struct peer *peer, const struct msg *m, struct err *e);
int outbox_log(struct outbox *o, enum log_level level, struct err *e, const char *event,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Empties it; the memory of the list stays for the next batch. */
void outbox_clear(struct outbox *o);
void outbox_done(struct outbox *o);

#endif
