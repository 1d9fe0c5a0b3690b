/*
 * What the coordinator knows: jobs, the tasks in flight, workers. Plain state with look-ups and
 * bookkeeping; decisions are reactor.h's, and nothing here does input or output.
 *
 * Memory follows workers, tasks in flight and unfinished bundles, never tasks queued or done: an
 * untouched task has no entry, a settled one is a bit at most. Use from one thread.
 *
 *     struct coord c;
 *     TRY(coord_init(&c, &(struct coord_limits){0}, "/srv/out", e));
 *     ...
 *     coord_done(&c);
 */
#ifndef COORDINATOR_COORD_H
#define COORDINATOR_COORD_H

#include "coordinator/abilities.h"
#include "coordinator/asset_table.h"
#include "coordinator/bits.h"
#include "coordinator/blocks.h"
#include "coordinator/lacks.h"
#include "coordinator/lost.h"
#include "coordinator/queue.h"
#include "coordinator/record.h"
#include "jobs/job.h"
#include "proto/link.h"
#include "proto/msg.h"

#define COORD_NOTED_MAX      1000 /* files of a job that are compared when it is submitted again */
#define COORD_NOTED_KEPT     16
#define COORD_FAILURES_SHOWN 20 /* first failures of a job with texts of their own, for status */
#define COORD_RUNS_MAX       20 /* attempts of one task that workers may hold at a time */
#define COORD_REFUSED_MAX    16 /* workers remembered as having failed a task */
#define COORD_CLIENTS_MAX    1024
#define COORD_LOST_SHOWN     32 /* lost workers kept for `workers` */
#define COORD_SPEEDS_MAX     24 /* (model, size, members) whose step time a worker remembers */
#define COORD_FOUND_SLOTS    4096
#define COORD_RECENT         32 /* finish times that a job's rate is taken from */

struct coord_limits {
    int64_t heartbeat_ms; /* told to peers: send something at least this often; default 2000 */
    int64_t silence_ms;   /* a peer silent for this long is gone; default 15000 */
    int64_t grace_ms;     /* after a restart, wait for workers to claim what they hold; 6000 */
    int64_t stall_ms;     /* a started attempt without progress, at the least; 60000 */
    int64_t load_ms;      /* an attempt that has not started (its model loads); 600000 */
    bool assets;          /* files of tasks are looked for: somebody answers OUT_ASSET */
    bool empties;         /* attempts may end without a picture: this coordinator is measured */
    size_t stuck_bytes;   /* pictures kept in memory while the disk refuses them; 256 MiB */
};

enum job_phase {
    JOB_OPENING, /* accepted, its folder is being made */
    JOB_RUNNING,
    JOB_FINISHING, /* all settled, the sheet is being drawn */
    JOB_DONE,
    JOB_FAILED, /* all settled, some as failures */
    JOB_CANCELLED,
    JOB_PHASE_COUNT
};

struct failure_note {
    uint64_t index; /* the lowest known */
    uint32_t attempts;
    uint64_t tasks;    /* that failed with this code and text */
    char *code, *text; /* owned */
};

struct job_entry {
    uint64_t number; /* in order of submission, from 1; the store's key */
    char hash[HASH_HEX_SIZE];
    char *name;      /* owned */
    char *folder;    /* relative to the output folder: index.jsonl, sheet.png, job.json; owned */
    char *sheet;     /* absolute path of the contact sheet, or NULL; owned */
    struct job *job; /* owned; NULL once settled and swept */
    enum job_phase phase;
    struct bits settled;
    uint64_t frames;     /* of each chain; 1: there are none */
    const char *out_dir; /* the coordinator's; borrowed */
    struct queue queue;  /* of untouched tasks; while `job` is there */
    uint64_t tasks, done, failed, running;
    struct failure_note failures[COORD_FAILURES_SHOWN]; /* each text once, by index */
    size_t n_failures;
    int64_t submitted_ms, finished_ms; /* wall clock, ms since 1970; finished 0 while it runs */
    int64_t recent_ms[COORD_RECENT];   /* ring of finish times */
    uint64_t n_recent;                 /* pictures since this coordinator started */
    int64_t wait_until_ms;             /* no lease before; 0: none */
    char *wait_reason;                 /* why it waits, NULL if it does not; owned */
    bool sweep;                        /* free `job` at the next tick */
    bool paused;                       /* no lease until it is resumed */
    bool force;                        /* pictures in place are rendered again */
    uint32_t priority;                 /* 1..100, larger first */
    char *token;                       /* of the submission, NULL none; owned */
    uint64_t noted[COORD_NOTED_KEPT];  /* its files that the store knows: the latest, hashed */
    size_t n_noted;
    struct job_asset *recheck; /* [n_recheck]: its files as they were; owned */
    size_t n_recheck;
    bool rechecking; /* it is reopened once they are known as they are */
    bool reopening;  /* its records are looked at: of what `reopen` says */
    enum reopen reopen;
    char hashing[400];                 /* which file of its tasks is being hashed; "" none */
    char *stop_reason;                 /* why it ended before its tasks did, NULL; owned */
    enum gang_wish gang;               /* as the bundle says */
    struct gang_shape gang_shape;      /* of GANG_SHAPE */
    double gang_step_ms, gang_speedup; /* running means; 0: not measured */
    uint64_t pass;                     /* leases it had, from where the others were when it came */
    int64_t leased_ms;                 /* when it last had one, or came */
    /* who waits for the answer to submit or retry; size 0: nobody does any more */
    struct peer client;
    uint64_t request;
    int64_t asked_ms;
    enum msg_type asked; /* submit or retry */
    bool known;
};

/* One attempt that some worker may be working on. */
struct run {
    uint32_t attempt;
    uint64_t session; /* of the worker; 0: given before a restart and not claimed yet */
    int64_t since_ms; /* leased at */
    int64_t until_ms; /* unclaimed: dropped then */
    uint32_t step, steps;
    uint64_t fetched, fetch_bytes; /* of its files, until it starts; 0 of 0: unknown */
    char task_hash[HASH_HEX_SIZE]; /* with the files it was leased with; "": unknown */
    bool started;                  /* progress was seen */
    bool finished;                 /* a result came while another's was being written */
    uint32_t gang;                 /* the leader's attempt, of a gang's member; 0: alone */
};

enum task_phase {
    TASK_READY,   /* waits for a worker */
    TASK_PROBING, /* its files and its output path are looked at */
    TASK_RUNNING,
    TASK_WRITING, /* a result is being made durable */
};

/* The gang that a task is meant for while its path is looked at. */
struct planned_gang {
    size_t n; /* members, 0: none */
    uint32_t guidance;
    uint64_t sessions[MSG_GANG_MAX]; /* by rank */
};

/* What a later frame of a chain starts from: the frame before it, once that is settled. */
struct frame_before {
    bool known; /* the rest holds */
    bool asked; /* of the store */
    char sha256[HASH_HEX_SIZE];
    char *device_class; /* that rendered it, a gang's part left out; owned; NULL: any goes on */
    uint64_t session;   /* of the worker that has it; 0: unknown */
    char *failure;      /* why there is no picture; owned; NULL: there is */
};

/*
 * A task that was given out and is not settled. Sixteen thousand of them are in flight with a
 * thousand workers, so what is seldom needed stands behind, and room for more than one run is
 * taken when there is more than one.
 */
struct task_entry {
    struct task_entry *chain; /* of the hash table */
    struct job_entry *job;
    uint64_t index;
    struct task_entry *previous, *next; /* of the ready list */
    enum task_phase phase;
    uint32_t attempts; /* numbers given out so far */
    struct run *runs;  /* [n_runs]: `one`, or owned */
    size_t n_runs;
    struct run one;
    uint64_t probe_session; /* worker that gets it if the path is free */
    uint64_t lot;           /* of its job's queue */
    struct needs needs;     /* model_key 0: not looked at yet */
    uint64_t speed_key;     /* names (model, size, sampler); 0 unknown */
    double step_growth;     /* of a step's time within the task, at most; 0 unknown */
    int steps;              /* 0 unknown */
    uint32_t tries;         /* attempts that ended in a failure of their own */
    int64_t not_before_ms;  /* back-off */
    uint64_t memory_over;   /* oom: only workers with a larger budget than this; 0: any */
    uint32_t too_large;     /* `auto`: for one device; parts of the U-Net it needs, 0: one */
    bool guided;            /* known with needs: the U-Net has two branches or more */
    bool awaits_assets;     /* TASK_PROBING: its files are looked at first */
    bool only_elsewhere;    /* the last failure would come again on that worker */
    bool later;             /* a chain's frame but the first */
    uint64_t holder;        /* TASK_WRITING: session of the worker whose picture it is */
    struct frame_before before;
    struct lost lost; /* workers, while they worked on it */
    uint32_t n_refused, n_failed, n_over;
    uint64_t refused[COORD_REFUSED_MAX]; /* sessions of workers that failed it, a ring */
    uint32_t failed[COORD_REFUSED_MAX];  /* attempts whose failure was counted, a ring */
    uint32_t over[COORD_REFUSED_MAX];    /* attempts that must not be taken up again, a ring */
    char *fail_code, *fail_text;         /* of the last failed attempt, NULL if none; owned */
    struct planned_gang gang;            /* which that worker leads */
};

struct speed {
    uint64_t key;
    double step_ms; /* running mean */
};

struct worker {
    struct peer peer;
    uint64_t session;                              /* unique per hello of a new process, from 1 */
    char *name, *device, *device_class, *software; /* owned */
    uint64_t memory_bytes;
    uint32_t threads;
    uint32_t batch;   /* leases that it may render together; 1.. */
    uint32_t credits; /* leases it would take now */
    char *host;       /* workers of equal hosts can meet as a gang; "": none; owned */
    bool reachable;   /* by members of a gang on other hosts that are it too */
    char *meeting;    /* for the next gang that it leads; NULL or "": none; owned */
    char *met;        /* of the last gang that it led; NULL: it led none; owned */
    uint64_t cache_hits, cache_misses, cache_evictions, cache_damaged; /* as it said last */
    uint32_t probing; /* tasks meant for it whose paths are being looked at */
    bool reserved;    /* for a gang whose task's path is being looked at */
    bool lost;        /* kept only to be shown */
    bool stated;      /* `ready` was seen since its last hello */
    int64_t joined_ms, heard_ms, sent_ms;
    int64_t active_ms; /* last progress, result or failure */
    bool leaving;      /* gets no lease any more */
    struct abilities abilities;
    struct needs resident; /* of its latest lease: what it has ready */
    uint64_t text;         /* queue_text() of that lease; 0: none yet */
    struct blocks blocks;
    struct lacks lacks;
    double pace_ms; /* of one step of a megapixel; running mean, 0 unknown */
    uint64_t done, failed;
    struct task_entry **tasks; /* whose runs it holds, oldest first; owned array */
    size_t n_tasks, room;
    struct speeds {
        struct speed at[COORD_SPEEDS_MAX];
        size_t n;
    } speeds, loads; /* by speed key, and opening a model by model key */
};

struct client {
    struct peer peer;
    int64_t heard_ms;
};

struct delivery;

struct coord {
    struct coord_limits limits;
    char *out_dir;           /* absolute; owned */
    int64_t wall_offset_ms;  /* wall clock = now_ms + this; set by main before events */
    struct job_entry **jobs; /* ascending by number; owned */
    size_t n_jobs, jobs_room;
    uint64_t next_number;
    struct task_entry **buckets; /* hash table of tasks in flight */
    size_t n_buckets, n_tasks;
    size_t n_unlinked; /* later frames in flight that have no picture before them, or not yet */
    struct task_entry *ready_first, *ready_last;
    struct worker **workers; /* owned, lost ones included */
    size_t n_workers, workers_room;
    struct worker **found; /* [COORD_FOUND_SLOTS] where a look-up by address found one; owned */
    uint64_t next_session;
    struct client clients[COORD_CLIENTS_MAX];
    size_t n_clients;
    struct delivery *stuck; /* results that the disk refused, a list; owned */
    size_t stuck_bytes;
    int64_t retry_ms;               /* when the stuck ones are tried again */
    int64_t retry_delay_ms;         /* doubles while the disk refuses */
    int64_t noise_ms;               /* last log line about noise from strangers */
    uint64_t noise;                 /* such messages since */
    uint64_t hash_done, hash_total; /* bytes of files being hashed; set by main before events */
    struct assets assets;
    /* counted for monitoring, since the coordinator started */
    struct {
        uint64_t leases, accepted, duplicates, unknown, failed, lost, stalled, revoked, refused;
        uint64_t adopted, seconds, gangs;
    } count;
};

/* Fields of `limits` that are 0 take their default. out_dir is copied. */
int coord_init(struct coord *c, const struct coord_limits *limits, const char *out_dir,
               struct err *e);
void coord_done(struct coord *c);

/* An entry owned by c, phase JOB_OPENING. Takes ownership of job only on success. */
int coord_job_add(struct coord *c, uint64_t number, struct job *job, struct job_entry **ret_entry,
                  struct err *e);
/* What the entry keeps of its bundle: for an entry that has just got one. */
void job_entry_read(const struct coord *c, struct job_entry *j);
/* A job that is over: only its row is known. */
int coord_job_add_settled(struct coord *c, uint64_t number, const char *hash, const char *name,
                          struct job_entry **ret_entry, struct err *e);
void coord_job_remove(struct coord *c, struct job_entry *j);
struct job_entry *coord_job(const struct coord *c, uint64_t number);
struct job_entry *coord_job_by_hash(const struct coord *c, const char *hash);

/*
 * What a user typed: 64 digits, a unique prefix of at least 4, or a name (the latest job of it).
 * ERR_MISSING: no such job; ERR_ARG: an ambiguous prefix, with the candidates.
 */
int coord_job_find(const struct coord *c, const char *typed, struct job_entry **ret_entry,
                   struct err *e);

struct job_entry *coord_job_by_token(const struct coord *c, const char *token);

/* Marks the task settled and moves the floor over what is settled or excluded. */
int job_settle(struct job_entry *j, uint64_t index, struct err *e);
/* The same floor, for a set that was read whole. */
void settled_raise(const struct job *job, struct bits *settled);
/* note: its texts are copied. */
int job_note_failure(struct job_entry *j, const struct failure_note *note, struct err *e);
void job_forget_failures(struct job_entry *j);
/* Replaces an owned text; NULL is legal for both. */
int text_replace(char **text, const char *by, struct err *e);

/* Pictures per second of late; 0: unknown. */
double job_rate(const struct job_entry *j, int64_t now_ms);

/* Why the job waits; NULL: it does not. */
int job_wait(struct job_entry *j, int64_t until_ms, const char *reason, struct err *e);

/* The entry of a task in flight, or NULL. */
struct task_entry *coord_task(const struct coord *c, const struct job_entry *j, uint64_t index);
int coord_task_add(struct coord *c, struct job_entry *j, uint64_t index,
                   struct task_entry **ret_task, struct err *e);
/* The task does not wait for its files any more; its worker has the credit back. */
void coord_task_unawait(struct coord *c, struct task_entry *t);
/* Tasks that wait for their files with this worker's credits. */
uint32_t coord_awaited_by(const struct coord *c, const struct worker *w);
void coord_task_remove(struct coord *c, struct task_entry *t);
/* A later frame without a picture to start from, or not yet. */
bool task_is_unlinked(const struct task_entry *t);
void coord_job_tasks_remove(struct coord *c, const struct job_entry *j);

/* Changes the phase, keeping the ready list and the job's count of running tasks. */
void task_to(struct coord *c, struct task_entry *t, enum task_phase phase);

/* The task is meant for the worker, which will have ready what it needs. */
void worker_prepares(struct worker *w, const struct task_entry *t);

struct worker *coord_worker(const struct coord *c, const struct peer *peer); /* not a lost one */
struct worker *coord_session(const struct coord *c, uint64_t session);       /* not a lost one */
int coord_worker_add(struct coord *c, const struct peer *peer, const struct msg_hello *hello,
                     struct worker **ret_worker, struct err *e);
void coord_worker_remove(struct coord *c, struct worker *w);

/* Remembers that w holds this attempt. ret_run: valid until the task's next one; NULL: the task has
 * no room for another. */
int run_add(struct task_entry *t, uint32_t attempt, struct worker *w, int64_t now_ms,
            struct run **ret_run, struct err *e);
struct run *run_of(struct task_entry *t, const struct worker *w);
struct run *run_numbered(struct task_entry *t, uint32_t attempt);
/* Forgets one run, in the task and in the worker's list. */
void run_remove(struct coord *c, struct task_entry *t, struct run *r);

/* Workers that failed the task: of the last COORD_REFUSED_MAX. */
bool task_refused_by(const struct task_entry *t, uint64_t session);
void task_refuse(struct task_entry *t, uint64_t session);

/* What key names took `ms`, in one table of a worker's. */
void speed_learn(struct speeds *s, uint64_t key, double ms);
double speed_ms(const struct speeds *s, uint64_t key); /* 0: unknown */

/* The worker failed such tasks, or lacks a file of them: others go first. */
bool worker_is_barred(const struct worker *w, const struct needs *n);

/* A number that tells connections apart. */
uint64_t peer_hash(const struct peer *peer);

/* Hello was said and the peer is still counted. */
struct client *coord_client(struct coord *c, const struct peer *peer);
/* The longest silent one makes room. */
struct client *coord_client_add(struct coord *c, const struct peer *peer, int64_t now_ms);
void coord_client_remove(struct coord *c, struct client *client);

/*
 * Nobody listened for so long: the program was stopped, or waited for its disk. What peers said
 * meanwhile still waits to be read, so that time counts for no silence, stall or claim.
 */
void coord_absent(struct coord *c, int64_t for_ms);

/* At most size - 1 bytes, cut between characters of UTF-8, so that it may go on the wire. */
void text_cut(char *ret_text, size_t size, const char *text);

/* The same connection identity. */
bool peer_equal(const struct peer *a, const struct peer *b);

/* "running"; static. Opening shows as "queued". */
const char *job_phase_name(enum job_phase phase);

#endif
