#include "worker/resident.h"

#include "proto/buf.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RESIDENT_MAX 8 /* models */

struct model {
    char *path; /* owned */
    enum precision precision;
    struct engine *engine; /* owned */
    uint64_t bytes;        /* estimate of its weights in memory */
    uint64_t used;         /* the larger, the later */
};

struct resident {
    struct resident_options options;
    struct model models[RESIDENT_MAX];
    size_t n;
    uint64_t clock;
};

int resident_new(const struct resident_options *o, struct resident **ret_resident, struct err *e)
{
    struct resident *r = calloc(1, sizeof *r);

    if (!r)
        return err_set(e, ERR_OOM, "out of memory for the models' list");
    r->options = *o;
    *ret_resident = r;
    return 0;
}

static void evict(struct resident *r, size_t i)
{
    engine_close(r->models[i].engine);
    free(r->models[i].path);
    r->models[i] = r->models[--r->n];
}

void resident_free(struct resident *r)
{
    if (!r)
        return;
    while (r->n)
        evict(r, r->n - 1);
    free(r);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Weight files of the model's parts, doubled: half floats on disk become floats in memory. */
static uint64_t estimate(const char *path)
{
    static const char *const parts[] = {"unet", "vae", "text_encoder"};
    uint64_t bytes = 0;
    struct buf folder = {0};
    struct dirent *entry;
    struct stat st;
    DIR *dir;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        folder.size = 0;
        buf_printf(&folder, "%s/%s", path, parts[i]);
        dir = opendir(buf_text(&folder)); /* what is missing, engine_open names */
        while (dir && (entry = readdir(dir)))
            if (ends_with(entry->d_name, ".safetensors") &&
                fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
                bytes += 2 * (uint64_t)st.st_size;
        if (dir)
            closedir(dir);
    }
    buf_done(&folder);
    return bytes;
}

static void make_room(struct resident *r, uint64_t bytes)
{
    uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t total;
    size_t oldest;

    while (r->n) {
        total = bytes;
        oldest = 0;
        for (size_t i = 0; i < r->n; i++) {
            total += r->models[i].bytes;
            if (r->models[i].used < r->models[oldest].used)
                oldest = i;
        }
        if (r->options.memory_bytes == 0 && r->n < RESIDENT_MAX && total <= limit)
            return;
        evict(r, oldest);
    }
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

static int open_model(struct resident *r, const char *path, enum precision precision, struct err *e)
{
    struct model m = {.precision = precision, .bytes = estimate(path)};
    const struct engine_options o = {.model = path,
                                     .backend = r->options.backend,
                                     .precision = precision,
                                     .threads = r->options.threads,
                                     .memory_bytes = r->options.memory_bytes};
    int rc = 0;

    make_room(r, m.bytes);
    m.path = strdup(path);
    if (!m.path)
        TRY(err_set(e, ERR_OOM, "out of memory for the models' list"));
    TRY(engine_open(&o, &m.engine, e));
    r->models[r->n++] = m;
    m.path = NULL;
out:
    free(m.path);
    return rc;
}

int resident_get(struct resident *r, const char *path, enum precision precision,
                 struct engine **ret_engine, double *ret_seconds, struct err *e)
{
    struct timespec start;
    double seconds = 0;
    size_t i = 0;
    int rc;

    while (i < r->n &&
           (r->models[i].precision != precision || strcmp(r->models[i].path, path) != 0))
        i++;
    if (i == r->n) {
        clock_gettime(CLOCK_MONOTONIC, &start);
        if ((rc = open_model(r, path, precision, e)) != 0)
            return rc;
        seconds = seconds_since(&start);
        i = r->n - 1;
    }
    r->models[i].used = ++r->clock;
    *ret_engine = r->models[i].engine;
    *ret_seconds = seconds;
    return 0;
}
