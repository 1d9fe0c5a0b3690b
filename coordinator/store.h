/*
 * What outlives the coordinator: STATE/litho.db, and the lock that keeps a second coordinator out.
 * Behind it: SQLite, WAL, synchronous=FULL, so a commit that returned survives a power cut.
 *
 * One thread, but store_peek, which any process may call at any time.
 *
 *     TRY(store_open("/var/lib/litho", &s, e));
 *     TRY(store_begin(s, e));
 *     TRY(store_apply(s, &row, e));
 *     TRY(store_commit(s, e));
 *     store_close(s);
 */
#ifndef COORDINATOR_STORE_H
#define COORDINATOR_STORE_H

#include "coordinator/outbox.h"
#include "coordinator/reactor.h"

struct store;

/*
 * Makes the folder if it is missing, locks it, migrates the database. ERR_CONFLICT: another
 * coordinator has the folder (the text names its pid), or the database is of a newer version.
 */
int store_open(const char *state_dir, struct store **ret_store, struct err *e);
void store_close(struct store *s);

/* "nfs" and the like if the folder lies on a network file system, where locks and syncs are not to
 * be trusted; else NULL. Static. */
const char *store_network(const char *state_dir);

/*
 * Whether the state is one of measurements: its records have no pictures. Such a one is never
 * opened as a real one, nor the other way round (ERR_CONFLICT); a fresh state becomes what is
 * asked.
 */
int store_claim(struct store *s, bool measured, struct err *e);

/*
 * One transaction per batch. ERR_IO: the disk refused (full, or an I/O error); nothing was written
 * and the same batch may be tried again after store_rollback. Others are final.
 */
int store_begin(struct store *s, struct err *e);
int store_apply(struct store *s, const struct store_row *row, struct err *e);
int store_commit(struct store *s, struct err *e);
void store_rollback(struct store *s);

/*
 * Calls f for each job in order of submission; stops at its first error. Jobs that are not over
 * come loaded, with their settled tasks, failures and attempts. What f takes over, it sets to NULL.
 */
int store_restore(struct store *s, int (*f)(void *user, struct restored *r, struct err *e),
                  void *user, struct err *e);

/*
 * A job is opened again: records are taken back, so that their tasks are done again. In slices,
 * each a transaction of its own; the job's row says from the first record on that it is under way,
 * and a start finds that (restored.reopening). Of REOPEN_ALL and _FAILED every record of the kind
 * goes; else failures, and pictures for which `again` says true.
 *
 *     while (!over)
 *         TRY(store_reopen_slice(s, &options, &next, &taken, &over, e));
 *     TRY(store_reopen_end(s, job, what, f, user, e));  // no row of the job may wait for a commit
 */
#define STORE_SLICE_ROWS 2000 /* records looked at in one slice, at most */

struct store_slice {
    uint64_t job;
    enum reopen what;
    bool (*again)(void *user, const struct record *r);
    bool (*enough)(void *user); /* asked now and then; true ends the slice early */
    void *user;
};

/* next: 0 at first, then as the slice before left it. ret_taken: records taken back. On failure
 * nothing was done, and the slice may be tried again. */
int store_reopen_slice(struct store *s, const struct store_slice *o, uint64_t *next,
                       size_t *ret_taken, bool *ret_over, struct err *e);

/* It runs if a picture is missing. Reads it as if it were not over, and calls f. */
int store_reopen_end(struct store *s, uint64_t job, enum reopen what,
                     int (*f)(void *user, struct restored *r, struct err *e), void *user,
                     struct err *e);

/* Records from index `from` on, ascending, until f returns nonzero (its value is returned) or the
 * end. The record is borrowed during the call. */
int store_records(struct store *s, uint64_t job, uint64_t from,
                  int (*f)(void *user, const struct record *r, struct err *e), void *user,
                  struct err *e);

/* One record, owned by the caller. ERR_MISSING: the task is not settled. */
int store_record(struct store *s, uint64_t job, uint64_t index, struct record *ret_record,
                 struct err *e);

/* Calls f for each file that pictures of the job are known to be made from. Stops at its first
 * error. */
int store_assets(struct store *s, uint64_t job,
                 int (*f)(void *user, const char *role, const char *name, const char *sha256,
                          struct err *e),
                 void *user, struct err *e);

/* Pictures recorded for a job. */
int store_count_done(struct store *s, uint64_t job, uint64_t *ret_n, struct err *e);

/* An attempt that gave no picture; strings are borrowed during the call. */
struct history_row {
    uint32_t attempt;
    const char *worker, *code, *text;
    int64_t started_ms, ended_ms; /* wall clock; started 0 unknown */
};

/* Of one task, in order of their numbers; stops at f's first error. */
int store_history(struct store *s, uint64_t job, uint64_t index,
                  int (*f)(void *user, const struct history_row *row, struct err *e), void *user,
                  struct err *e);

/* Deletes about `limit` rows of removed jobs, in a transaction of its own. ret_more: call again. */
int store_purge(struct store *s, uint32_t limit, bool *ret_more, struct err *e);

/*
 * Within a transaction: index.jsonl of the job has so many bytes, and lines of these tasks come
 * next. store_unmark: nobody knows.
 */
int store_mark(struct store *s, uint64_t job, uint64_t bytes, const uint64_t *tasks, size_t n,
               struct err *e);
int store_unmark(struct store *s, uint64_t job, struct err *e);
/* ERR_MISSING: there is no mark. ret_tasks: malloc'd, the caller frees. */
int store_marked(struct store *s, uint64_t job, uint64_t *ret_bytes, uint64_t **ret_tasks,
                 size_t *ret_n, struct err *e);

/* The bundle of a job, loaded. */
int store_job(struct store *s, uint64_t job, struct job **ret_job, struct err *e);

/*
 * For other programs, read-only and without the lock: how far a job is. ERR_MISSING: no such state
 * folder, or the job is not in it.
 */
int store_peek(const char *state_dir, const char *job_hash, uint64_t *ret_done,
               uint64_t *ret_failed, struct err *e);

#endif
