/*
 * The workers that were lost while they worked on one task: distinct ones, told apart by what their
 * addresses hash to. Plain data, kept in the task's entry and in its row, so that it holds over
 * restarts.
 *
 *     lost_add(&l, attempt, peer_hash(&w->peer));
 *     if (l.n == POLICY_LOSSES_MAX) ... the task is quarantined
 */
#ifndef COORDINATOR_LOST_H
#define COORDINATOR_LOST_H

#include "coordinator/policy.h"

#include <stdint.h>

#define LOST_TEXT_MAX 128 /* bytes of lost_text(), its NUL among them */

struct lost {
    uint32_t n;                          /* workers */
    uint32_t attempt[POLICY_LOSSES_MAX]; /* with which each was lost; 0 unknown */
    uint64_t worker[POLICY_LOSSES_MAX];  /* 0 unknown: a row of an older version */
};

/* A worker that is there already, or one too many, changes nothing. */
void lost_add(struct lost *l, uint32_t attempt, uint64_t worker);

/* The worker came back with that attempt: it was silent, and did not die of it. */
void lost_forgive(struct lost *l, uint32_t attempt);

/* "1:17 4:99", for a row; "" if there are none. */
void lost_text(const struct lost *l, char ret_text[LOST_TEXT_MAX]);

/* The same back. n: as the row says; those that the text does not name are unknown. One less than
 * POLICY_LOSSES_MAX at most: with that many the task would have been over. */
struct lost lost_parse(const char *text, uint32_t n);

#endif
