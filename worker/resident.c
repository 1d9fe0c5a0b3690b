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
    char *model, *config, *vae, *identity; /* owned; the last three may be NULL */
    int shard, shards;
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

static void model_done(struct model *m)
{
    engine_close(m->engine);
    free(m->model);
    free(m->config);
    free(m->vae);
    free(m->identity);
}

static void evict(struct resident *r, size_t i)
{
    model_done(&r->models[i]);
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

/* Bytes of a folder's weight files. */
static uint64_t folder_bytes(const char *path)
{
    DIR *dir = opendir(path); /* what is missing, engine_open names */
    uint64_t bytes = 0;
    struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir)))
        if (ends_with(entry->d_name, ".safetensors") &&
            fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
            bytes += (uint64_t)st.st_size;
    if (dir)
        closedir(dir);
    return bytes;
}

/* Weights of the model's parts, or its one file, doubled: half floats on disk become floats in
 * memory. */
static uint64_t estimate(const char *path)
{
    static const char *const parts[] = {"unet", "vae", "text_encoder", "text_encoder_2"};
    uint64_t bytes = 0;
    struct buf folder = {0};
    struct stat st;

    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        return 2 * (uint64_t)st.st_size;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        folder.size = 0;
        buf_printf(&folder, "%s/%s", path, parts[i]);
        bytes += folder_bytes(buf_text(&folder));
    }
    buf_done(&folder);
    return 2 * bytes;
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

/* A copy, NULL of NULL. */
static int keep(const char *text, char **ret_copy, struct err *e)
{
    *ret_copy = text ? strdup(text) : NULL;
    return text && !*ret_copy ? err_set(e, ERR_OOM, "out of memory for the models' list") : 0;
}

static int open_model(struct resident *r, const struct resident_model *wanted, struct err *e)
{
    struct model m = {.shard = wanted->shard,
                      .shards = wanted->shards > 1 ? wanted->shards : 1,
                      .bytes = estimate(wanted->model)};
    const struct engine_options o = {.model = wanted->model,
                                     .config = wanted->config,
                                     .vae = wanted->vae,
                                     .lora_folders = r->options.lora_folders,
                                     .embedding_folders = r->options.embedding_folders,
                                     .lora_path = r->options.lora_path,
                                     .lora_user = r->options.lora_user,
                                     .backend = r->options.backend,
                                     .device = r->options.device,
                                     .precision = wanted->precision,
                                     .threads = r->options.threads,
                                     .memory_bytes = r->options.memory_bytes,
                                     .hashes = r->options.hashes,
                                     .shard = m.shard,
                                     .shards = m.shards};
    int rc = 0;

    make_room(r, m.bytes);
    TRY(keep(wanted->model, &m.model, e));
    TRY(keep(wanted->config, &m.config, e));
    TRY(keep(wanted->vae, &m.vae, e));
    TRY(keep(wanted->identity, &m.identity, e));
    TRY(engine_open(&o, &m.engine, e));
    r->models[r->n++] = m;
    m = (struct model){0};
out:
    model_done(&m);
    return rc;
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_wanted(const struct model *m, const struct resident_model *wanted)
{
    int shards = wanted->shards > 1 ? wanted->shards : 1;

    return engine_computes(m->engine, wanted->precision) == engine_precision(m->engine) &&
           m->shards == shards && m->shard == wanted->shard && same(m->model, wanted->model) &&
           same(m->config, wanted->config) && same(m->vae, wanted->vae) &&
           same(m->identity, wanted->identity);
}

int resident_get(struct resident *r, const struct resident_model *model, struct engine **ret_engine,
                 double *ret_seconds, struct err *e)
{
    struct timespec start;
    double seconds = 0;
    size_t i = 0;
    int rc;

    while (i < r->n && !is_wanted(&r->models[i], model))
        i++;
    if (i == r->n) {
        clock_gettime(CLOCK_MONOTONIC, &start);
        if ((rc = open_model(r, model, e)) != 0)
            return rc;
        seconds = seconds_since(&start);
        i = r->n - 1;
    }
    r->models[i].used = ++r->clock;
    *ret_engine = r->models[i].engine;
    *ret_seconds = seconds;
    return 0;
}
