/*
 * index.jsonl of a job's folder: one line of JSON per picture, for people and their scripts. It is
 * derived: lines are appended after their rows are durable, and the file is made anew from the
 * store when it does not agree with it.
 */
#ifndef COORDINATOR_INDEX_H
#define COORDINATOR_INDEX_H

#include "coordinator/output.h"
#include "coordinator/store.h"

/* Appends the line of one picture. */
int index_line(const struct job *job, const struct record *record, struct buf *ret_text,
               struct err *e);

/* Appends whole lines to FOLDER/index.jsonl. An error may leave part of them: index_check(). */
int index_append(struct output *o, const char *folder, const struct buf *lines, struct err *e);

/*
 * Within the transaction that makes the tasks' rows durable: notes how long the file is before
 * their lines come, so that a start need not read what stands before. A file that cannot be looked
 * at gets no mark.
 */
int index_mark(struct output *o, struct store *s, uint64_t job, const char *folder,
               const uint64_t *tasks, size_t n, struct err *e);

/* At start: what stands after the mark must be those tasks' lines, or is replaced by them. Without
 * a mark, or if the file is shorter: index_check. */
int index_restart(struct output *o, struct store *s, uint64_t job, const char *folder,
                  struct err *e);

/* ret_good: what stands after the mark are the tasks' lines, and the file is well up to there.
 * Reads no more than that. */
int index_agrees(struct output *o, struct store *s, uint64_t job, const char *folder,
                 bool *ret_good, struct err *e);

/*
 * Makes FOLDER/index.jsonl anew in parts: empty, then the lines of INDEX_SOME records at a time.
 * next: 0 at first, then as the call before left it.
 */
#define INDEX_SOME 2000
int index_begin(struct output *o, const char *folder, struct err *e);
int index_some(struct output *o, struct store *s, uint64_t number, const struct job *job,
               const char *folder, uint64_t *next, bool *ret_over, struct err *e);

/* Makes FOLDER/index.jsonl anew unless its lines are whole and as many as the store's pictures.
 * job: the store's number. */
int index_check(struct output *o, struct store *s, uint64_t job, const char *folder, struct err *e);

#endif
