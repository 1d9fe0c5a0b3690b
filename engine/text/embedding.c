#include "engine/text/embedding.h"

#include "engine/networks/layer.h"
#include "engine/weights/weights.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#define SETTLED_S 2 /* a folder that changed this shortly ago may change within the same stamp */

/* An embedding's name as tokens. */
struct name {
    int32_t *ids; /* [n], owned */
    size_t n;
    size_t order; /* index of the embedding; lower ones win */
};

struct folder {
    const char *path; /* borrowed */
    bool listed, exists, settled;
    struct timespec changed; /* its time stamp when it was listed */
    dev_t device;
    ino_t inode;
    struct embedding *items; /* [n], owned; sorted by name */
    size_t n;
};

struct embeddings {
    struct folder *folders; /* [n_folders], owned */
    size_t n_folders;
    const struct embedding **all; /* [n_all], owned: every folder's, in order */
    size_t n_all;
    struct name *names[2]; /* [n_names], owned; sorted by first id, then the longest first */
    size_t n_names[2];
};

int embeddings_new(const char *const *folders, struct embeddings **ret_db, struct err *e)
{
    struct embeddings *db = calloc(1, sizeof *db);

    if (db == NULL)
        return err_set(e, ERR_OOM, "no memory for embeddings");
    while (folders != NULL && folders[db->n_folders] != NULL)
        db->n_folders++;
    db->folders = calloc(db->n_folders + 1, sizeof *db->folders);
    if (db->folders == NULL) {
        free(db);
        return err_set(e, ERR_OOM, "no memory for embeddings");
    }
    for (size_t i = 0; i < db->n_folders; i++)
        db->folders[i].path = folders[i];
    *ret_db = db;
    return 0;
}

static void embedding_done(struct embedding *m)
{
    free(m->name);
    free(m->path);
    *m = (struct embedding){0};
}

static void folder_clear(struct folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        embedding_done(&f->items[i]);
    free(f->items);
    f->items = NULL;
    f->n = 0;
    f->listed = false;
}

static void names_clear(struct embeddings *db)
{
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < db->n_names[which]; i++)
            free(db->names[which][i].ids);
        free(db->names[which]);
        db->names[which] = NULL;
        db->n_names[which] = 0;
    }
    free(db->all);
    db->all = NULL;
    db->n_all = 0;
}

void embeddings_free(struct embeddings *db)
{
    if (db == NULL)
        return;
    names_clear(db);
    for (size_t i = 0; i < db->n_folders; i++)
        folder_clear(&db->folders[i]);
    free(db->folders);
    free(db);
}

/* ---- folders */

/* Bytes of the name without an ending that says what the file is; 0: another file. */
static size_t stem_size(const char *file, bool *ret_pickle)
{
    const char *dot = strrchr(file, '.');

    if (dot == NULL || dot == file)
        return 0;
    *ret_pickle = strcasecmp(dot, ".pt") == 0 || strcasecmp(dot, ".bin") == 0;
    return *ret_pickle || strcasecmp(dot, ".safetensors") == 0 ? (size_t)(dot - file) : 0;
}

static int add_file(struct folder *f, const char *file, struct err *e)
{
    struct embedding m = {0}, *items;
    char path[PATH_MAX];
    struct stat st;
    size_t stem = stem_size(file, &m.pickle);
    int rc = 0;

    if (stem == 0)
        return 0;
    TRY(part_path(path, f->path, file, e));
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return 0; /* gone, or being written */
    items = realloc(f->items, (f->n + 1) * sizeof *items);
    if (items != NULL)
        f->items = items;
    m.name = strndup(file, stem);
    m.path = strdup(path);
    if (items == NULL || m.name == NULL || m.path == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for embedding '%s'", path));
    f->items[f->n++] = m;
    m = (struct embedding){0};
out:
    embedding_done(&m);
    return rc;
}

/* By name; of two files of one name the one that can be read. */
static int compare_items(const void *a, const void *b)
{
    const struct embedding *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : x->pickle - y->pickle;
}

static int list_folder(struct folder *f, struct err *e)
{
    DIR *dir = opendir(f->path);
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL)
        return errno == ENOENT ? 0 : err_errno(e, f->path);
    while ((entry = readdir(dir)) != NULL)
        TRY(add_file(f, entry->d_name, e));
    if (f->n > 0)
        qsort(f->items, f->n, sizeof *f->items, compare_items);
out:
    closedir(dir);
    return rc;
}

static bool same_stamp(const struct folder *f, const struct stat *st)
{
    return f->exists && f->device == st->st_dev && f->inode == st->st_ino &&
           f->changed.tv_sec == st->st_mtim.tv_sec && f->changed.tv_nsec == st->st_mtim.tv_nsec;
}

static int refresh_folder(struct folder *f, bool *ret_changed, struct err *e)
{
    struct timespec now;
    struct stat st;
    bool exists = stat(f->path, &st) == 0;
    int rc = 0;

    if (!exists && errno != ENOENT && errno != ENOTDIR)
        return err_errno(e, f->path);
    if (f->listed && (exists ? same_stamp(f, &st) && f->settled : !f->exists))
        return 0;
    *ret_changed = true;
    folder_clear(f);
    f->exists = exists;
    if (exists) {
        clock_gettime(CLOCK_REALTIME, &now);
        f->changed = st.st_mtim;
        f->device = st.st_dev;
        f->inode = st.st_ino;
        f->settled = now.tv_sec - st.st_mtim.tv_sec > SETTLED_S;
        TRY(list_folder(f, e));
    }
    f->listed = true;
out:
    return rc;
}

/* ---- names */

static int compare_names(const void *a, const void *b)
{
    const struct name *x = a, *y = b;

    if (x->ids[0] != y->ids[0])
        return x->ids[0] < y->ids[0] ? -1 : 1;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int take_names(struct embeddings *db, int which, const struct tokenizer *t, struct err *e)
{
    struct name *names = calloc(db->n_all + 1, sizeof *names);

    if (names == NULL)
        return err_set(e, ERR_OOM, "no memory for embeddings' names");
    db->names[which] = names;
    for (size_t i = 0; i < db->n_all; i++) {
        const char *text = db->all[i]->name;
        struct name name = {.order = i};
        int rc = tokenizer_encode(t, text, strlen(text), &name.ids, &name.n, e);

        if (rc == ERR_OOM)
            return rc;
        if (rc != 0)
            continue; /* no UTF-8: no prompt can say it */
        if (name.n == 0)
            free(name.ids);
        else
            names[db->n_names[which]++] = name;
    }
    qsort(names, db->n_names[which], sizeof *names, compare_names);
    return 0;
}

int embeddings_refresh(struct embeddings *db, const struct tokenizer *const tokenizers[2],
                       struct err *e)
{
    bool changed = db->all == NULL;
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < db->n_folders; i++)
        TRY(refresh_folder(&db->folders[i], &changed, e));
    if (!changed)
        return 0;
    names_clear(db);
    for (size_t i = 0; i < db->n_folders; i++)
        n += db->folders[i].n;
    db->all = calloc(n + 1, sizeof *db->all);
    if (db->all == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for %zu embeddings", n));
    for (size_t i = 0; i < db->n_folders; i++)
        for (size_t k = 0; k < db->folders[i].n; k++)
            db->all[db->n_all++] = &db->folders[i].items[k];
    for (int which = 0; which < 2 && tokenizers[which] != NULL; which++)
        TRY(take_names(db, which, tokenizers[which], e));
out:
    if (rc != 0)
        names_clear(db); /* the next refresh begins anew */
    return rc;
}

const struct embedding *embeddings_find(const struct embeddings *db, int which, const int32_t *ids,
                                        size_t n, size_t *ret_length)
{
    const struct name *names = db->names[which];
    size_t low = 0, high = db->n_names[which];

    while (low < high) { /* the first name of that first token */
        size_t middle = low + (high - low) / 2;

        if (names[middle].ids[0] < ids[0])
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < db->n_names[which] && names[low].ids[0] == ids[0]; low++)
        if (names[low].n <= n && memcmp(names[low].ids, ids, names[low].n * sizeof *ids) == 0) {
            *ret_length = names[low].n;
            return db->all[names[low].order];
        }
    return NULL;
}

/* ---- vectors */

/* t as [vectors, width] for one encoder. */
static int read_tensor(const char *path, const struct tensor *t, int width, int max_vectors,
                       int *ret_n, float **ret_values, struct err *e)
{
    int64_t got = t->rank > 0 ? t->shape[t->rank - 1] : 0, n = t->rank == 2 ? t->shape[0] : 1;
    float *values;

    if (t->rank < 1 || t->rank > 2 || !dtype_is_float(t->dtype))
        return err_set(e, ERR_INPUT, "embedding '%s': no list of vectors of numbers", path);
    if (got != width)
        return err_set(e, ERR_INPUT,
                       "embedding '%s' is for a text encoder %lld wide; this model's is %d wide",
                       path, (long long)got, width);
    if (n < 1 || n > max_vectors)
        return err_set(e, ERR_INPUT, "embedding '%s' has %lld vectors; a prompt holds 1 to %d",
                       path, (long long)n, max_vectors);
    values = malloc((size_t)(n * got) * sizeof *values);
    if (values == NULL)
        return err_set(e, ERR_OOM, "embedding '%s': no memory", path);
    tensor_to_f32(t, values);
    *ret_values = values;
    *ret_n = (int)n;
    for (int64_t i = 0; i < n * got; i++)
        if (!isfinite(values[i]))
            return err_set(e, ERR_INPUT, "embedding '%s' holds NaN or Inf", path);
    return 0;
}

static int read_two(const char *path, const struct weights *w, const int widths[2], int max_vectors,
                    struct embedding_vectors *v, struct err *e)
{
    static const char *const names[2] = {"clip_l", "clip_g"};
    struct tensor t;
    int n[2], rc = 0;

    for (int i = 0; i < 2; i++) {
        if (!weights_find(w, names[i], &t))
            TRY(err_set(e, ERR_INPUT, "embedding '%s' lacks '%s': this model has two text encoders",
                        path, names[i]));
        TRY(read_tensor(path, &t, widths[i], max_vectors, &n[i], &v->values[i], e));
    }
    if (n[0] != n[1])
        TRY(err_set(e, ERR_INPUT, "embedding '%s' has %d vectors in 'clip_l' and %d in 'clip_g'",
                    path, n[0], n[1]));
    v->n = n[0];
out:
    return rc;
}

static int read_one(const char *path, const struct weights *w, int width, int max_vectors,
                    struct embedding_vectors *v, struct err *e)
{
    struct tensor t;

    if (weights_find(w, "clip_l", &t) && weights_find(w, "clip_g", &t))
        return err_set(e, ERR_INPUT,
                       "embedding '%s' is for two text encoders; this model has one, %d wide", path,
                       width);
    if (weights_count(w) != 1)
        return err_set(e, ERR_INPUT, "embedding '%s' has %zu tensors instead of one", path,
                       weights_count(w));
    if (!weights_find(w, weights_name(w, 0), &t))
        return err_set(e, ERR_INPUT, "embedding '%s': no list of vectors of numbers", path);
    return read_tensor(path, &t, width, max_vectors, &v->n, &v->values[0], e);
}

int embedding_read(const struct embedding *m, const int widths[2], int max_vectors,
                   struct embedding_vectors *ret_v, struct err *e)
{
    struct embedding_vectors v = {0};
    struct weights *w = NULL;
    int rc = 0;

    if (m->pickle)
        return err_set(e, ERR_INPUT,
                       "embedding '%s' is a pickle, which may hold any program and is not read: "
                       "save it as .safetensors",
                       m->path);
    TRY(weights_open(m->path, &w, e));
    if (widths[1] > 0)
        TRY(read_two(m->path, w, widths, max_vectors, &v, e));
    else
        TRY(read_one(m->path, w, widths[0], max_vectors, &v, e));
    *ret_v = v;
    v = (struct embedding_vectors){0};
out:
    weights_close(w);
    embedding_vectors_done(&v);
    return rc;
}

void embedding_vectors_done(struct embedding_vectors *v)
{
    free(v->values[0]);
    free(v->values[1]);
    *v = (struct embedding_vectors){0};
}
