/* The store's numbered migrations, coordinator/schema/000N_*.sql, embedded at build. */
#ifndef COORDINATOR_SCHEMA_H
#define COORDINATOR_SCHEMA_H

extern const char *const schema_migrations[]; /* [schema_version]; migration N at N - 1 */
extern const int schema_version;

#endif
