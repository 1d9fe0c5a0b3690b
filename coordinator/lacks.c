#include "coordinator/lacks.h"

#include "coordinator/assets.h"
#include "coordinator/pick.h"

static uint64_t file_key(const struct asset_missing *m)
{
    uint64_t x = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)m->role;

    for (const char *p = m->name; *p; p++)
        x = (x ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    return x | 1;
}

/* Model, VAE, LoRAs and size. */
static uint64_t lot_key(const struct needs *n)
{
    return ((n->files_key ^ n->shape_key << 1) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
}

/* Tasks of one lot share it, so that none of them is for a worker that lacks it. */
static bool is_of_model(enum asset_role role)
{
    return role == ASSET_MODEL || role == ASSET_CONFIG || role == ASSET_VAE || role == ASSET_LORA;
}

static struct lack *find(struct lacks *l, uint64_t file)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->at[i].file == file)
            return &l->at[i];
    return NULL;
}

static void add(struct lacks *l, uint64_t file, uint64_t lot, int64_t now_ms)
{
    if (l->n == LACKS_MAX)
        memmove(l->at, l->at + 1, --l->n * sizeof *l->at);
    l->at[l->n++] = (struct lack){.file = file, .lot = lot, .since_ms = now_ms};
}

int lacks_note(const struct coord *c, const struct task_entry *t, struct worker *w,
               const char *text, int64_t since_ms, int64_t now_ms, bool *ret_blamed, struct err *e)
{
    struct asset_missing missing[LACKS_FILES_MAX];
    struct task task = {0};
    size_t n;
    int rc;

    *ret_blamed = true;
    TRY(job_task(t->job->job, t->index, &task, e));
    TRY(assets_missing(c, &task, missing, LACKS_FILES_MAX, &n, e));
    for (size_t i = 0; i < n; i++) {
        uint64_t file = file_key(&missing[i]);
        struct lack *known = find(&w->lacks, file);

        if (!strstr(text, missing[i].name))
            continue;
        *ret_blamed = known && known->since_ms < since_ms;
        if (!known)
            add(&w->lacks, file, is_of_model(missing[i].role) ? lot_key(&t->needs) : 0, now_ms);
    }
out:
    task_done(&task);
    return rc;
}

/* The first of the files that the worker lacks; NULL: none. */
static const struct asset_missing *lacked_by(const struct worker *w, const struct asset_missing *m,
                                             size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < w->lacks.n; k++)
            if (w->lacks.at[k].file == file_key(&m[i]))
                return &m[i];
    return NULL;
}

/* No worker that takes leases could have the task and its files. */
static bool by_all(const struct coord *c, const struct task_entry *t, const struct asset_missing *m,
                   size_t n)
{
    for (size_t i = 0; i < c->n_workers; i++)
        if (pick_could_have(t, c->workers[i]) && !lacked_by(c->workers[i], m, n))
            return false;
    return true;
}

static void tell(const struct asset_missing *m, bool everywhere, struct err *ret_why)
{
    const char *what = m->role == ASSET_LORA ? "LoRA" : asset_role_name(m->role);

    if (m->name[0] == '/' || asset_hash_of(m->name))
        err_set(ret_why, ERR_MISSING,
                "%s%s%s%s: neither the coordinator nor %s worker has '%.600s': put it there, then "
                "'litho retry'",
                what, m->label[0] ? " '" : "", m->label, m->label[0] ? "'" : "",
                everywhere ? "a connected" : "this", m->name);
    else
        err_set(ret_why, ERR_MISSING,
                "%.700s; %s worker has it either: put it there, or give its folder to "
                "litho-coordinator or a worker with --models, then 'litho retry'",
                m->why->text, everywhere ? "no connected" : "not every");
}

int lacks_look(const struct coord *c, const struct task_entry *t, const struct task *task,
               const struct worker *w, enum lacked *ret_lacked, struct err *ret_why, struct err *e)
{
    struct asset_missing missing[LACKS_FILES_MAX];
    const struct asset_missing *first;
    size_t n;
    int rc = 0;

    *ret_lacked = LACKED_NOT;
    if (!w->lacks.n)
        return 0;
    TRY(assets_missing(c, task, missing, LACKS_FILES_MAX, &n, e));
    first = lacked_by(w, missing, n);
    if (!first)
        goto out;
    if (by_all(c, t, missing, n))
        *ret_lacked = LACKED_EVERYWHERE;
    else if (is_of_model(first->role))
        *ret_lacked = LACKED_HERE;
    tell(first, *ret_lacked == LACKED_EVERYWHERE, ret_why);
out:
    return rc;
}

bool lacks_lot(const struct worker *w, const struct needs *n)
{
    for (size_t i = 0; i < w->lacks.n; i++)
        if (w->lacks.at[i].lot == lot_key(n))
            return true;
    return false;
}

void lacks_pass(struct worker *w, const struct needs *n, int64_t now_ms)
{
    if (!lacks_lot(w, n))
        add(&w->lacks, 0, lot_key(n), now_ms);
}

void lacks_expire(struct coord *c, int64_t now_ms)
{
    for (size_t i = 0; i < c->n_workers; i++) {
        struct lacks *l = &c->workers[i]->lacks;
        size_t kept = 0;

        for (size_t k = 0; k < l->n; k++)
            if (now_ms - l->at[k].since_ms < ASSETS_FRESH_MS)
                l->at[kept++] = l->at[k];
        l->n = kept;
    }
}

void lacks_forget(struct coord *c)
{
    for (size_t i = 0; i < c->n_workers; i++)
        c->workers[i]->lacks.n = 0;
}
