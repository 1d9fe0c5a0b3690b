/* What store.c and restore.c share; nobody else includes it. */
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

#endif
