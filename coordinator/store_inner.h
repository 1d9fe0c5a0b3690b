/* What the store's files share; nobody else includes it. */
#ifndef COORDINATOR_STORE_INNER_H
#define COORDINATOR_STORE_INNER_H

#include "coordinator/settled.h"
#include "coordinator/sql.h"
#include "coordinator/store.h"

struct store {
    sqlite3 *db;
    int lock; /* descriptor of STATE/lock */
    struct sql_cache statements;
    struct settled settled;
    bool purge; /* there may be rows of removed jobs */
};

/* Reads one job as if it were not over, and calls f. */
int store_load(struct store *s, uint64_t job,
               int (*f)(void *user, struct restored *r, struct err *e), void *user, struct err *e);

/* What `jobs.reopen` names; false: nothing. */
bool store_reopen_named(const char *name, enum reopen *ret_what);

#endif
