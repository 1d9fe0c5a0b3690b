/*
 * Files of tasks, as the reactor knows them: which assets tasks need, what the depot found, and
 * which parts of them workers may have. Part of the reactor (reactor.h has the rules); called by it
 * alone.
 *
 * A task is leased once the depot has answered for all its assets. Answers are believed for
 * ASSETS_FRESH_MS, then asked for again: that reads no file that did not change. An asset that the
 * coordinator does not have is left out of leases; the worker's own library may have it.
 */
#ifndef COORDINATOR_ASSETS_H
#define COORDINATOR_ASSETS_H

#include "coordinator/reactor.h"

void assets_done(struct assets *a);

/*
 * Asks the depot for what is not known of the task's files. ret_ready: all of it is known, or known
 * not to be here.
 */
int assets_ready(struct coord *c, const struct task *t, int64_t now_ms, bool *ret_ready,
                 struct outbox *o, struct err *e);

/* What is known of a task's files. */
struct asset_set {
    struct lease_asset *rows; /* with their names; owned */
    const char **names;       /* as the task names them, borrowed from the entries; owned array */
    size_t n;
    char task_hash[HASH_HEX_SIZE];
};
/* task: t as canonical JSON. Valid until the next event. ret_set: asset_set_done(). */
int asset_set_of(const struct coord *c, const struct task *t, const char *task,
                 struct asset_set *ret_set, struct err *e);
void asset_set_done(struct asset_set *set);

/*
 * The same in the words of a picture's `litho` chunk: "unet/config.json", "vae:config.json",
 * "lora:fur", with their hashes. ret_files: listing_done().
 */
int asset_expected(const struct coord *c, const struct task *t, struct listing *ret_files,
                   struct err *e);

/* A file that is not here, or of no use here. */
struct asset_missing {
    enum asset_role role;
    const char *name;      /* as the task has it */
    char label[80];        /* what prompts call a LoRA or an embedding, cut if longer; else "" */
    const struct err *why; /* where it was looked for */
};
/* Those of the task's files that were looked for in vain, the first `max`. ret_missing [max],
 * borrowed until the next event. */
int assets_missing(const struct coord *c, const struct task *t, struct asset_missing *ret_missing,
                   size_t max, size_t *ret_n, struct err *e);

/* The user asks for something, and may have put there what was missing: it is looked for again. */
void assets_doubt_missing(struct coord *c);

/* The hash of a file that was looked for; NULL: it is not known, or not here. Borrowed until the
 * next event. */
const char *assets_sha256(const struct coord *c, enum asset_role role, const char *name);

/* The files of the task's lease are its job's from now on: a row for each that is new, but for the
 * frame before it. */
int assets_note(const struct task_entry *t, const struct asset_set *set, struct outbox *o,
                struct err *e);

/*
 * A job that is over is to be opened again: are its pictures' files as they were? The store's rows
 * (EVENT_ASSETS) are asked for again; once all are answered the job is reopened (OUT_REOPEN), and
 * told whether one of them changed.
 */
int on_job_assets(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
                  struct err *e);

/* The depot's answer; tasks that waited for it go on. */
int on_asset(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
             struct err *e);
/* A worker wants a part of a file: it is sent (OUT_CHUNK) if a task names the file, else refused.
 */
int on_want(struct coord *c, struct worker *w, const struct msg_want *m, int64_t now_ms,
            struct outbox *o, struct err *e);

/* The job waits for a file's hash: its name; NULL: no. Borrowed. */
const char *assets_hashing(const struct coord *c, const struct job_entry *j);

#endif
