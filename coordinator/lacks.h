/*
 * Which files workers were found to lack that the coordinator does not have either. A task that
 * needs one is no worker's that lacks it, and fails without an attempt once all do that could have
 * it: a mistyped name costs each worker an attempt or two, not each task. Believed for
 * ASSETS_FRESH_MS, as what the coordinator itself has is. Part of the reactor; called by it alone.
 *
 *     TRY(lacks_note(c, t, w, m->text, since_ms, now_ms, &blamed, e));    // an attempt failed
 *     TRY(lacks_look(c, t, &task, w, &lacked, &why, e));                  // before the next one
 */
#ifndef COORDINATOR_LACKS_H
#define COORDINATOR_LACKS_H

#include "jobs/task.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LACKS_MAX       16 /* (file, lot) pairs of a worker; the oldest makes room */
#define LACKS_FILES_MAX 8  /* missing files of one task that are looked at */

struct coord;
struct needs;
struct task_entry;
struct worker;

/* Zeroed memory is empty. */
struct lacks {
    struct lack {
        uint64_t file;    /* role and name, as a number; never 0 */
        uint64_t lot;     /* what tasks need it, if it is part of a model; 0: any may, or may not */
        int64_t since_ms; /* when it was found out */
    } at[LACKS_MAX];
    size_t n;
};

/*
 * The worker failed the task for want of a file: for that of the files missing here that the
 * failure's text names.
 *
 *   since_ms    when the attempt was leased
 *   ret_blamed  whether that counts against the worker: not if the file is missing here too and
 *               the lease was given before it was known that the worker lacks it
 */
int lacks_note(const struct coord *c, const struct task_entry *t, struct worker *w,
               const char *text, int64_t since_ms, int64_t now_ms, bool *ret_blamed, struct err *e);

enum lacked {
    LACKED_NOT,       /* as far as is known it has, or can have, all files */
    LACKED_HERE,      /* the worker lacks one of a model; another may have it */
    LACKED_EVERYWHERE /* each worker that could have the task lacks a file, and so do we */
};

/*
 * Whether w, to which the task is about to be given, lacks a file of it.
 *
 *   task     t as a task, whose files the depot was asked for
 *   ret_why  unless LACKED_NOT: ERR_MISSING, where it was looked for and what to do
 */
int lacks_look(const struct coord *c, const struct task_entry *t, const struct task *task,
               const struct worker *w, enum lacked *ret_lacked, struct err *ret_why, struct err *e);

/* Whether the worker is known to lack a file of a lot's model. */
bool lacks_lot(const struct worker *w, const struct needs *n);
/* As lacks_look() found for this task: its lot is another's too while that is believed. */
void lacks_pass(struct worker *w, const struct needs *n, int64_t now_ms);

/* Forgets what is too old to be believed; lacks_forget: all, since the user may have mended it. */
void lacks_expire(struct coord *c, int64_t now_ms);
void lacks_forget(struct coord *c);

#endif
