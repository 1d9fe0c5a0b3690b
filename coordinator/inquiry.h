/*
 * Looks for assets: a name becomes a path, a path its files, files their hashes, known ones from
 * files.h, the others by reading them slice by slice. The depot's inside; one thread.
 *
 *     inquiries_add(&q, ASSET_MODEL, "sticker-128");    // may answer at once
 *     while (inquiries_busy(&q))
 *         inquiries_step(&q);                           // some milliseconds each
 */
#ifndef COORDINATOR_INQUIRY_H
#define COORDINATOR_INQUIRY_H

#include "coordinator/asset_answer.h"
#include "coordinator/files.h"
#include "jobs/library.h"
#include "proto/hash_memo.h"

#define INQUIRY_SLICE (8u << 20) /* bytes hashed at a time */

struct inquiry;
struct hashing;

/* The first five are set by the caller, the rest zero. */
struct inquiries {
    const struct library *library;                      /* borrowed */
    struct files *files;                                /* borrowed */
    struct hash_memo *hashes;                           /* for workers on this machine; borrowed */
    void (*answer)(void *user, struct asset_answer *a); /* takes the contents over */
    void *user;
    struct inquiry *open;          /* that wait for hashes; owned */
    struct hashing *first, **last; /* files to be read; owned */
    uint64_t hashed_bytes, hashed_files;
};

void inquiries_add(struct inquiries *q, enum asset_role role, const char *name);
bool inquiries_busy(const struct inquiries *q);
void inquiries_step(struct inquiries *q);

/* Bytes read of the files to be hashed; ret_total: of all of them. */
uint64_t inquiries_progress(const struct inquiries *q, uint64_t *ret_total);

/* Drops what is open, unanswered. */
void inquiries_done(struct inquiries *q);

#endif
