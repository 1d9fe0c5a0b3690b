/*
 * Files for tasks: finds what their names mean, hashes it, and reads the parts that workers want. A
 * thread of its own, so that no disk holds up the loop; a large file is hashed in slices between
 * which everything else goes on. All functions are for the loop's thread.
 *
 *     TRY(depot_open("/var/lib/litho", library, &d, e));
 *     TRY(depot_ask(d, ASSET_MODEL, "sticker-128", e));
 *     // depot_fd(d) becomes readable
 *     while (depot_next(d, &result)) ...
 */
#ifndef COORDINATOR_DEPOT_H
#define COORDINATOR_DEPOT_H

#include "coordinator/asset_answer.h"
#include "jobs/library.h"
#include "proto/link.h"
#include "proto/msg.h"

struct depot;

struct depot_result {
    bool is_frame;              /* else an answer */
    struct asset_answer answer; /* asset_answer_done() */
    struct peer peer;           /* whom the frame is for */
    struct buf frame;           /* a chunk or gone message, encoded; buf_done() */
    size_t chunk_bytes;         /* of a file in it */
};

/* library: borrowed until depot_close. */
int depot_open(const char *state_dir, const struct library *library, struct depot **ret_depot,
               struct err *e);
/* Waits for at most one slice. NULL is legal. */
void depot_close(struct depot *d);

/* Looked at anew each time: files that did not change since are not read. name: copied. */
int depot_ask(struct depot *d, enum asset_role role, const char *name, struct err *e);

/* A part of a file that was found by its hash, or of a listing; else the frame says gone. */
int depot_send(struct depot *d, const struct peer *peer, const struct msg_want *want,
               struct err *e);

/* Readable when a result waits. */
int depot_fd(const struct depot *d);
bool depot_next(struct depot *d, struct depot_result *ret_result);

/* Of what is being hashed now and waits for it: bytes read, and in all; 0 of 0: nothing is. */
struct depot_progress {
    uint64_t done, total;
    uint64_t hashed_bytes, hashed_files; /* since the depot was opened */
};
struct depot_progress depot_progress(struct depot *d);

#endif
