/*
 * Every message of the wire, one struct each, and its MessagePack form (PROTOCOL.md is the
 * contract).
 *
 * A message is one frame: a MessagePack map with string keys; `type` says which. Unknown keys are
 * skipped, missing required keys, wrong types and values over a limit are ERR_INPUT. Pure
 * functions; no thread rules beyond the usual. Behind it: msgpack-c.
 *
 *     struct msg m = {.type = MSG_ACK, .ack = {.ref = ref, .verdict = "accepted"}};
 *     TRY(msg_encode(&m, &frame, e));
 *     ...
 *     TRY(msg_decode(frame, size, &m, e));
 *     switch (m.type) { ... }
 *     msg_done(&m);
 */
#ifndef PROTO_MSG_H
#define PROTO_MSG_H

#include "proto/buf.h"
#include "proto/err.h"
#include "proto/hash.h"
#include "proto/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION     1 /* spoken */
#define PROTOCOL_VERSION_MIN 1 /* still understood */

#define MSG_FRAME_MAX      (64u << 20)  /* bytes of one frame: a picture or a bundle, and its map */
#define MSG_STRING_MAX     65536        /* bytes of one string but task and bundle */
#define MSG_TASK_MAX       (256u << 10) /* bytes of a task's JSON */
#define MSG_NAME_MAX       255          /* bytes of a worker's, device's or class name */
#define MSG_PAGE_MAX       1000         /* rows of one list answer */
#define MSG_FLEET_MAX      10000        /* workers of one answer */
#define MSG_DEPTH_MAX      8            /* nesting of a frame */
#define MSG_VALUES_MAX     (1u << 20)   /* values of a frame, keys and all nested ones counted */
#define MSG_BUNDLE_MAX     (32u << 20)  /* bytes of a bundle */
#define MSG_PNG_MAX        (63u << 20)  /* bytes of a picture's file */
#define MSG_CHUNK_MAX      (1u << 20)   /* bytes of a file in one `chunk` */
#define MSG_ASSETS_MAX     200          /* files and folders that one task needs */
#define MSG_GANG_MAX       16           /* members of a gang */
#define MSG_PRECISIONS_MAX 16           /* rows of one hello */

#define MSG_PERIOD_MAX_MS 3600000 /* of heartbeats and silence */

/*
 * The text of the error (code "conflict", request 0) that answers a frame of a peer without a
 * session, such as a worker's after the coordinator restarted: the peer says hello again. Any other
 * error with request 0 is a refusal, which the same hello would only meet again.
 */
#define MSG_HELLO_FIRST "say hello first"

/* How the reason of a job begins that waits for another kind of worker. */
#define MSG_NOBODY_RENDERS "no connected worker renders "

/* type, name on the wire, direction: W worker, C client, S coordinator */
#define MSG_TABLE(X)                                                                               \
    X(MSG_HELLO, "hello", hello)       /* W,C > S: first message of a connection */                \
    X(MSG_WELCOME, "welcome", welcome) /* S > W,C */                                               \
    X(MSG_PING, "ping", ping)          /* either way; any frame counts as one */                   \
    X(MSG_PONG, "pong", pong)                                                                      \
    X(MSG_ERROR, "error", error)             /* S > W,C: refusal; request 0 ends the session */    \
    X(MSG_READY, "ready", ready)             /* W > S: room for leases, what is still held */      \
    X(MSG_LEASE, "lease", lease)             /* S > W */                                           \
    X(MSG_PROGRESS, "progress", progress)    /* W > S */                                           \
    X(MSG_RESULT, "result", result)          /* W > S: kept until acknowledged */                  \
    X(MSG_EMPTY, "empty", empty)             /* W > S: for measuring; most coordinators refuse */  \
    X(MSG_HELPED, "helped", helped)          /* W > S: a gang's member is done; kept likewise */   \
    X(MSG_FAILED, "failed", failed)          /* W > S: kept until acknowledged */                  \
    X(MSG_ACK, "ack", ack)                   /* S > W: durable, or not wanted; forget it */        \
    X(MSG_REVOKE, "revoke", revoke)          /* S > W: stop this attempt, answer nothing */        \
    X(MSG_BYE, "bye", bye)                   /* W,C > S: leaves; its leases are free at once */    \
    X(MSG_SUBMIT, "submit", submit)          /* C > S */                                           \
    X(MSG_SUBMITTED, "submitted", submitted) /* S > C */                                           \
    X(MSG_LIST, "list", list)                /* C > S */                                           \
    X(MSG_JOBS, "jobs", jobs)                /* S > C */                                           \
    X(MSG_STATUS, "status", status)          /* C > S */                                           \
    X(MSG_JOB, "job", job)                   /* S > C */                                           \
    X(MSG_CANCEL, "cancel", cancel)          /* C > S; answered by job */                          \
    X(MSG_WORKERS, "workers", workers)       /* C > S */                                           \
    X(MSG_FLEET, "fleet", fleet)             /* S > C: the workers */                              \
    X(MSG_RECORDS, "records", records)       /* C > S */                                           \
    X(MSG_PAGE, "page", page)                /* S > C: records */                                  \
    X(MSG_FETCH, "fetch", fetch)             /* C > S */                                           \
    X(MSG_PICTURE, "picture", picture)       /* S > C */                                           \
    X(MSG_LEAVE, "leave", leave)             /* S > W: take no more, finish, say bye */            \
    X(MSG_PAUSE, "pause", pause)             /* C > S; answered by job, as the next three */       \
    X(MSG_RESUME, "resume", resume)          /* C > S */                                           \
    X(MSG_RETRY, "retry", retry)             /* C > S */                                           \
    X(MSG_REMOVE, "remove", remove)          /* C > S */                                           \
    X(MSG_DRAIN, "drain", drain)             /* C > S; answered by fleet */                        \
    X(MSG_HISTORY, "history", history)       /* C > S */                                           \
    X(MSG_ATTEMPTS, "attempts", attempts)    /* S > C: of one task */                              \
    X(MSG_CHECK, "check", check)             /* C > S */                                           \
    X(MSG_CHECKED, "checked", checked)       /* S > C: files compared with their records */        \
    X(MSG_WANT, "want", want)                /* W > S: a part of a file that a lease names */      \
    X(MSG_CHUNK, "chunk", chunk)             /* S > W: it */                                       \
    X(MSG_GONE, "gone", gone)                /* S > W: the file cannot be had */                   \
    X(MSG_FETCHING, "fetching", fetching)    /* W > S: a lease waits for its files */

#define X(id, name, member) id,
enum msg_type { MSG_TABLE(X) MSG_TYPE_COUNT };
#undef X

/* Names one attempt. */
struct attempt_ref {
    char job[HASH_HEX_SIZE]; /* SHA-256 of the bundle, hex */
    uint64_t index;          /* of the task in the job */
    uint32_t attempt;        /* from 1 */
};

bool attempt_ref_equal(const struct attempt_ref *a, const struct attempt_ref *b);

struct msg_hello {
    uint32_t protocol, protocol_min; /* highest and lowest version spoken */
    const char *role;                /* "worker" or "client" */
    const char *software;            /* "litho 0.1.0" */
    const char *name;                /* worker: host:pid or --name; client: may be "" */
    /* worker only, else "" and 0 */
    const char *device;       /* "cpu: AMD EPYC", for people */
    const char *device_class; /* "cpu"; bytes are equal within class and precision */
    uint64_t memory_bytes;    /* budget for one render */
    uint32_t threads;
    const char *host; /* workers of equal hosts can meet as a gang; "": it takes part in none */
    uint32_t batch;   /* leases that it renders together, where they go together; 0: one */
    const char *gang_address; /* where members of a gang on other hosts reach it; "": nowhere */
    struct hello_precision {
        const char *asked;        /* by a task: "f32", "bf16", "f16", "auto" */
        const char *computed;     /* what it comes to on this device; "": depends on the model */
        const char *device_class; /* of such pictures; workers of equal ones make equal bytes */
    } * precisions;               /* that it renders; none: all, in device_class */
    size_t n_precisions;
};

struct msg_welcome {
    uint32_t protocol; /* agreed */
    const char *software;
    uint32_t heartbeat_ms; /* send something at least this often */
    uint32_t silence_ms;   /* a peer silent for this long is gone */
    uint32_t frame_max;    /* bytes */
};

struct msg_ping {
    char unused; /* no keys beside type */
};

struct msg_error {
    uint64_t request; /* 0: not an answer to a request */
    const char *code; /* err_name() */
    const char *text;
};

/*
 * Sent after welcome, and whenever a lease ended or was dropped, so that there is room again.
 * States the worker's whole view at that moment: leases on their way to it are not in it
 * (PROTOCOL.md).
 */
struct msg_ready {
    uint32_t credits;         /* leases it would take now beyond those held */
    struct attempt_ref *held; /* leases and unacknowledged results it has */
    size_t n_held;            /* <= MSG_PAGE_MAX */
    /* of files, since the worker started */
    uint64_t cache_hits, cache_misses, cache_evictions, cache_damaged;
    const char *meeting; /* where a gang led by this worker would meet; "": nowhere */
};

struct msg_lease {
    struct attempt_ref ref;
    const char *task; /* canonical JSON of the task (jobs/SPEC.md, "The task") */
    struct lease_asset {
        const char *role;           /* jobs/asset.h: "model", "lora", ... */
        const char *name;           /* a LoRA's or embedding's; else the last part of the path */
        char sha256[HASH_HEX_SIZE]; /* of the file, or of the folder's listing */
        bool folder;
        uint64_t bytes; /* of the file, or of all files of the folder */
    } * assets;         /* what the coordinator has of the task's files */
    size_t n_assets;
    /* A part in a gang of gang_guidance * gang_tensor members; 0: the worker renders it alone. */
    uint32_t gang_guidance, gang_tensor, gang_rank;
    const char *gang_meeting; /* rank 0's, from its ready */
    bool keep;                /* another task starts from its picture */
    bool alone; /* not to be rendered together with others: an attempt of it went wrong */
};

struct msg_want {
    char sha256[HASH_HEX_SIZE]; /* of a file, or of a folder's listing */
    uint64_t offset;
    uint32_t bytes; /* 1..MSG_CHUNK_MAX; fewer come at the end of the file */
};

struct msg_chunk {
    char sha256[HASH_HEX_SIZE];
    uint64_t offset;
    uint64_t total; /* bytes of the whole file */
    const void *data;
    size_t data_size;
};

struct msg_gone {
    char sha256[HASH_HEX_SIZE];
    const char *code; /* err_name() */
    const char *text;
};

struct msg_fetching {
    struct attempt_ref ref;
    uint64_t fetched, total; /* bytes of the lease's files: here now, and in all */
};

struct msg_progress {
    struct attempt_ref ref;
    uint32_t step, steps; /* steps done; step 0 is sent when the model is ready */
};

struct msg_result {
    struct attempt_ref ref;
    char sha256[HASH_HEX_SIZE]; /* of png */
    const void *png;
    size_t png_size;
    const char *device_class;
    const char *precision;
    double load_seconds;   /* opening the model, 0 when it was resident */
    double render_seconds; /* prompt to PNG */
    bool black;            /* every pixel is 0: a warning, not a failure */
};

/* This member of a gang has done its part; rank 0 has the picture. */
struct msg_helped {
    struct attempt_ref ref;
};

/* The attempt ends without a picture. Only coordinators that measure themselves take it. */
struct msg_empty {
    struct attempt_ref ref;
};

struct msg_failed {
    struct attempt_ref ref;
    const char *code; /* err_name() */
    const char *text;
    bool retryable;
};

struct msg_ack {
    struct attempt_ref ref;
    const char *verdict; /* "accepted", "duplicate" or "unknown": all mean: forget it */
};

struct msg_revoke {
    struct attempt_ref ref;
};

struct msg_submit {
    uint64_t request;   /* echoed in the answer; not 0 */
    const void *bundle; /* jobs/SPEC.md, "The bundle" */
    size_t bundle_size; /* <= JOB_BUNDLE_MAX */
    const char *token;  /* "": none. A second submit with it names the first one's job */
    uint32_t priority;  /* 1..100; 0: what the bundle says */
    bool force;         /* render again what is there */
};

struct msg_submitted {
    uint64_t request;
    char job[HASH_HEX_SIZE];
    bool known;     /* was here already; nothing is rendered twice */
    uint64_t tasks; /* pictures of the job, exclusions not counted */
};

struct msg_list {
    uint64_t request;
    uint64_t offset;
    uint32_t limit; /* 1..MSG_PAGE_MAX */
};

/* One job's counts, as `list` and `status` show them. pending + running + done + failed = tasks. */
struct job_summary {
    char job[HASH_HEX_SIZE];
    const char *name;
    const char
        *state; /* "queued", "running", "paused", "finishing", "done", "failed", "cancelled" */
    uint64_t tasks, pending, running, done, failed;
    uint64_t submitted_ms; /* wall clock, ms since 1970 */
    uint64_t finished_ms;  /* 0 while it runs */
    double rate;           /* pictures per second of late, 0 unknown */
    double eta_seconds;    /* negative: unknown */
    const char *folder;    /* where index.jsonl and the sheet are, absolute, on the coordinator */
    const char *sheet;     /* path of the contact sheet, "" if none (yet) */
    uint32_t priority;     /* 1..100 */
    const char *reason;    /* why the job waits, or was stopped; "" */
};

struct msg_jobs {
    uint64_t request;
    uint64_t total;
    struct job_summary *jobs; /* latest first */
    size_t n_jobs;
};

struct msg_status {
    uint64_t request;
    const char
        *job; /* hash, a unique prefix of it of at least 4 digits, or a job's name (the latest) */
};

struct running_task {
    struct attempt_ref ref; /* job left empty in an answer about one job */
    const char *worker;
    uint32_t step, steps;
    uint64_t since_ms;             /* age of the lease, ms */
    uint64_t fetched, fetch_bytes; /* of its files, while it waits for them; 0 of 0: it does not */
};

struct failure {
    uint64_t index; /* of the first task that failed so */
    uint32_t attempts;
    uint64_t tasks; /* that failed so, as far as is known; 0: it does not say */
    const char *code, *text;
};

struct msg_job {
    uint64_t request;
    struct job_summary summary;
    struct running_task *running;
    size_t n_running;
    struct failure *failures; /* the first of each text, at most 20 */
    size_t n_failures;
    const char *gang;    /* as the manifest has it: "none", "auto", "guidance 2, tensor 1" */
    double gang_speedup; /* a gang's steps against a worker's alone, as measured; 0: not yet */
    double gang_step_ms; /* of a gang, as measured; 0: none has rendered yet */
};

struct msg_cancel {
    uint64_t request;
    const char *job; /* as in status */
};

struct msg_retry {
    uint64_t request;
    const char *job;
    bool failed; /* only what failed; else also pictures whose file is gone */
};

struct msg_drain {
    uint64_t request;
    const char *worker; /* its name; all of that name */
};

struct msg_history {
    uint64_t request;
    const char *job;
    uint64_t index;
};

/* One attempt of a task. */
struct attempt_row {
    uint32_t attempt;
    const char *worker;
    const char *code; /* "" while it runs; "done": the picture; else how it ended */
    const char *text;
    uint64_t started_ms; /* wall clock, ms since 1970; 0 unknown */
    uint64_t ended_ms;   /* 0: it runs */
};

struct msg_attempts {
    uint64_t request;
    uint64_t index;
    const char *state; /* "pending", "running", "done", "failed" */
    struct attempt_row *attempts;
    size_t n_attempts;
};

struct msg_check {
    uint64_t request;
    const char *job;
    uint64_t from;
    uint32_t limit; /* records looked at, 1..MSG_PAGE_MAX; fewer if files are large */
};

struct bad_file {
    uint64_t index;
    const char *path, *text;
};

struct msg_checked {
    uint64_t request;
    uint64_t files; /* compared */
    uint64_t next;  /* `from` of the next page, 0: that was all */
    struct bad_file *bad;
    size_t n_bad;
};

struct msg_request_only {
    uint64_t request;
};

struct worker_row {
    const char *name, *device, *device_class, *software;
    const char *state;     /* "idle", "busy", "leaving", "lost" */
    uint64_t done, failed; /* attempts since it joined */
    uint64_t connected_ms; /* age */
    uint64_t silent_ms;    /* since its last frame */
    struct block_row {
        const char *model, *code;
        uint64_t pixels; /* of a picture: only that many and more; 0: all */
        uint32_t tasks;  /* failed */
    } * blocks;
    size_t n_blocks;
    struct running_task *running;
    size_t n_running;
};

struct msg_fleet {
    uint64_t request;
    struct worker_row *workers;
    size_t n_workers;
};

struct msg_records {
    uint64_t request;
    const char *job;
    uint64_t from;  /* first task index wanted */
    uint32_t limit; /* 1..MSG_PAGE_MAX */
};

struct record_row {
    uint64_t index;
    const char *state;  /* "done" or "failed" */
    const char *path;   /* of the picture, relative to the output folder; "" if failed */
    const char *sha256; /* of the file; "" if failed */
    uint64_t bytes;
    uint32_t attempt;
    const char *worker, *device_class, *precision;
    double render_seconds;
    const char *code, *text; /* failure, else "" */
};

struct msg_page {
    uint64_t request;
    struct record_row *records; /* ascending index; settled tasks only */
    size_t n_records;
    uint64_t next; /* `from` of the next page, 0: that was all */
};

struct msg_fetch {
    uint64_t request;
    const char *job;
    uint64_t index;
};

struct msg_picture {
    uint64_t request;
    uint64_t index;
    const char *path;
    const char *sha256;
    const void *png;
    size_t png_size;
};

struct msg {
    enum msg_type type;
    union {
        struct msg_hello hello;
        struct msg_welcome welcome;
        struct msg_ping ping, pong, bye;
        struct msg_error error;
        struct msg_ready ready;
        struct msg_lease lease;
        struct msg_progress progress;
        struct msg_result result;
        struct msg_empty empty;
        struct msg_helped helped;
        struct msg_failed failed;
        struct msg_ack ack;
        struct msg_revoke revoke;
        struct msg_submit submit;
        struct msg_submitted submitted;
        struct msg_list list;
        struct msg_jobs jobs;
        struct msg_status status;
        struct msg_job job;
        struct msg_cancel cancel;
        struct msg_request_only workers;
        struct msg_fleet fleet;
        struct msg_records records;
        struct msg_page page;
        struct msg_fetch fetch;
        struct msg_picture picture;
        struct msg_ping leave;
        struct msg_cancel pause, resume, remove;
        struct msg_retry retry;
        struct msg_drain drain;
        struct msg_history history;
        struct msg_attempts attempts;
        struct msg_check check;
        struct msg_checked checked;
        struct msg_want want;
        struct msg_chunk chunk;
        struct msg_gone gone;
        struct msg_fetching fetching;
    };
    struct pool pool; /* of a decoded message: its strings and arrays; empty in one to encode */
};

/*
 * Appends the frame to ret_frame. NULL strings count as "". ERR_ARG if a value is over its limit;
 * ret_frame is then as before. In text for people (`text`, `device`, `folder`, ...), bytes that are
 * not UTF-8 become '?'.
 */
int msg_encode(const struct msg *m, struct buf *ret_frame, struct err *e);

/*
 * Decodes one frame. Strings are checked UTF-8 without NUL, copied into m->pool; png, bundle and
 * data borrow from frame. On failure ret_m holds nothing to free.
 */
int msg_decode(const void *frame, size_t size, struct msg *ret_m, struct err *e);

/* Releases a decoded message; legal on zeroed memory. */
void msg_done(struct msg *m);

/* "lease"; static. */
const char *msg_type_name(enum msg_type type);

#endif
