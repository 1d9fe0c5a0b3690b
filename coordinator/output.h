/*
 * The output folder: pictures, and each job's folder. Nothing outside it is ever written, symbolic
 * links below it are not followed, and no file of another job is overwritten.
 *
 * A picture is written to a temporary file in its folder, synced, and renamed without replacing.
 * The folders are synced once per batch by output_sync, before the rows are committed. One thread.
 *
 *     TRY(output_open("out", &out, e));
 *     rc = output_write(out, delivery, e);     // per picture
 *     TRY(output_sync(out, e));                // per batch
 *     output_close(out);
 */
#ifndef COORDINATOR_OUTPUT_H
#define COORDINATOR_OUTPUT_H

#include "coordinator/outbox.h"
#include "coordinator/reactor.h"

struct output;

/* Makes the folder. ERR_IO: it cannot be made or written. */
int output_open(const char *out_dir, struct output **ret_output, struct err *e);
void output_close(struct output *o);

/* Absolute, without a final slash. Borrowed. */
const char *output_dir(const struct output *o);

/*
 * Is `path` (relative, JOB_PATH_MAX) free for a picture of the task? PROBE_OURS: a whole picture
 * whose `litho` chunk has an equal task is there; ret_found gets its hash, size, class, precision
 * (caller: record_done). PROBE_STALE: the same, but the chunk names a file with another hash than
 * `files` has for that name (asset_expected). PROBE_FOREIGN and PROBE_BLOCKED: e says why.
 */
enum probe_answer output_probe(struct output *o, const char *path, const char *task,
                               const struct listing *files, struct record *ret_found,
                               struct err *e);

/* Whether a whole picture of this program is there, of whatever task. */
bool output_is_ours(struct output *o, const char *path);

/* Whether a picture of the delivery's task is at its path that was made from other files. */
bool output_is_stale(struct output *o, const struct delivery *d);

/* Whether a picture of the task is there that started from another picture: an older one of the
 * same frame of a chain, whose frame before was rendered again. task: canonical JSON. */
bool output_is_older_frame(struct output *o, const char *path, const char *task);

/*
 * Checks the picture's hash, then, as PNG (png_check), its chunks and its size, and commits it
 * under d->path. A file there is adopted if its bytes
 * are equal, or its task and the files it was made from, d->record then describes that file; with
 * d->replace it is replaced. ERR_OUTPUT: the bytes are not what their hash says, or no picture of
 * the task's; ERR_CANCELLED: a chain's frame that did not start from d->record.before;
 * ERR_CONFLICT: another file is there; ERR_IO: the disk refused.
 */
int output_write(struct output *o, struct delivery *d, struct err *e);

/* Makes this batch's new names durable. */
int output_sync(struct output *o, struct err *e);

/* Makes a job's folder and puts the bundle there as job.json. ERR_CONFLICT: another's is there. */
int output_claim(struct output *o, const char *folder, const struct job *job, struct err *e);

/*
 * Gives the picture at `from` a second name, `path`, which was free, if output_probe calls it ours
 * there; ret_found as from output_probe. The two share their bytes on the disk, where the file
 * system can (hard links). ERR_MISSING: there is none.
 */
int output_take(struct output *o, const char *from, const char *path, const char *task,
                const struct listing *files, struct record *ret_found, struct err *e);

/* A regular file below the folder, at most limit bytes. */
int output_read(struct output *o, const char *path, size_t limit, struct buf *ret_bytes,
                struct err *e);

/* False only if the file is certainly not there. */
bool output_has(struct output *o, const char *path);

/* Bytes of a file there, 0 if it is missing. */
int output_size(struct output *o, const char *path, uint64_t *ret_bytes, struct err *e);

/* What a file there has from that byte on, at most `limit` bytes of it. */
int output_read_from(struct output *o, const char *path, uint64_t from, size_t limit,
                     struct buf *ret_bytes, struct err *e);

/* Leaves the first bytes of a file of a job's folder. */
int output_cut(struct output *o, const char *path, uint64_t bytes, struct err *e);

/* Appends to (or with `replace` writes anew, whole or not at all) a file of a job's folder. */
int output_append(struct output *o, const char *path, const struct buf *text, struct err *e);
int output_replace(struct output *o, const char *path, const struct buf *bytes, struct err *e);

#endif
