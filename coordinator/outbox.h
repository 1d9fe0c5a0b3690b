/*
 * What the reactor wants done, in order: messages, files, rows, a sheet, log lines. The reactor
 * fills an outbox and never carries it out; coordinator/batch.h does, and a test reads it instead.
 *
 * Everything in an outbox owns its data, but `job` pointers, which stay valid until the next tick.
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
    bool black;           /* every pixel is 0 */
    bool replace;         /* a picture of ours at the path is replaced */
    struct record record; /* what will be recorded if it succeeds */
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
    /* STORE_JOB */
    const struct job *bundle; /* borrowed: see above */
    char *folder;             /* owned */
    int64_t submitted_ms;
    char *token; /* owned, may be NULL */
    /* STORE_STATE, and the last three STORE_JOB */
    const char *state; /* static */
    char *sheet;       /* owned, may be NULL */
    uint64_t done, failed;
    int64_t finished_ms;
    char *reason; /* owned, may be NULL */
    bool paused, force;
    bool reopening; /* STORE_STATE: what a slice of reopening noted stays */
    uint32_t priority;
    /* STORE_ATTEMPT; STORE_HISTORY: index, attempts (the number), worker, finished_ms */
    uint64_t index;
    uint32_t attempts, tries;
    struct lost lost;              /* STORE_ATTEMPT */
    char task_hash[HASH_HEX_SIZE]; /* STORE_ATTEMPT: of the last one; "": unknown */
    char *worker;                  /* that holds the last attempt; "" when none does; owned */
    /* STORE_HISTORY */
    const char *code; /* static */
    char *text;       /* owned */
    int64_t started_ms;
    /* STORE_RECORD */
    struct record record;
};

struct out {
    enum out_type type;
    struct peer peer;      /* OUT_SEND, OUT_ANSWER */
    enum msg_type message; /* OUT_SEND */
    struct buf frame;      /* OUT_SEND: the encoded message */
    uint64_t job, index;   /* number of the job; OUT_PROBE, OUT_BEFORE, OUT_ANSWER (fetch) */
    char *path, *task;     /* OUT_PROBE: see struct delivery; OUT_ASSET: the asset's
                              name */
    struct listing
        files; /* OUT_PROBE: what the task's files are, as a picture's chunk names them */
    enum asset_role role;      /* OUT_ASSET */
    struct msg_want want;      /* OUT_CHUNK */
    struct delivery *delivery; /* OUT_WRITE */
    struct store_row row;      /* OUT_STORE */
    uint64_t request;          /* OUT_ANSWER */
    enum msg_type answer;      /* OUT_ANSWER: MSG_RECORDS, _FETCH, _HISTORY or _CHECK */
    enum reopen reopen;        /* OUT_REOPEN */
    uint64_t from;             /* OUT_ANSWER records, check */
    uint32_t limit;
    enum log_level level; /* OUT_LOG */
    const char *event;    /* OUT_LOG: static word */
    char *text;           /* OUT_LOG: key=value part; owned */
};

/* Zeroed memory is an empty outbox. */
struct outbox {
    struct out *items;
    size_t n, room;
};

/* A zeroed entry of that type at the end; borrowed until the next addition. */
int outbox_add(struct outbox *o, enum out_type type, struct out **ret_out, struct err *e);

/* A message over a limit of the wire becomes a log line instead. */
int outbox_send(struct outbox *o, const struct peer *peer, const struct msg *m, struct err *e);
int outbox_log(struct outbox *o, enum log_level level, struct err *e, const char *event,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Empties it; the memory of the list stays for the next batch. */
void outbox_clear(struct outbox *o);
void outbox_done(struct outbox *o);

#endif
