/* The reactor's table of assets, as part of its state. What is done with it: assets.h. */
#ifndef COORDINATOR_ASSET_TABLE_H
#define COORDINATOR_ASSET_TABLE_H

#include "jobs/asset.h"

#include <stddef.h>
#include <stdint.h>

#define ASSETS_FRESH_MS 10000
#define ASSETS_ANSWER_MS                                                                           \
    60000 /* an answer that does not come is asked for again, unless it hashes */
#define ASSETS_MAX        4096 /* known at a time; those unused for longest are forgotten */
#define ASSETS_BUCKETS    1024
#define ASSETS_SERVED_MAX 64   /* workers that are sent parts of files at a time */
#define ASSETS_SERVED_MS  3000 /* without a want, and another worker takes the place */

/* Zeroed memory is empty; assets_done. */
struct assets {
    struct asset_entry *buckets[ASSETS_BUCKETS]; /* chains; owned */
    size_t n;
    size_t waiting; /* tasks that wait for answers */
    struct served {
        uint64_t session;
        int64_t until_ms;
    } served[ASSETS_SERVED_MAX];
    /* for monitoring */
    uint64_t wants, refused, sent_bytes, hashed_bytes;
    uint64_t cache_hits, cache_misses, cache_evictions, cache_damaged; /* of all workers */
};

/* A file that pictures of a job were made from. */
struct job_asset {
    enum asset_role role;
    char *name; /* owned */
    char sha256[HASH_HEX_SIZE];
};
void job_assets_free(struct job_asset *assets, size_t n);

#endif
