#include "coordinator/assets.h"

#include "coordinator/sched.h"

struct asset_entry {
    struct asset_entry *chain;
    enum asset_role role;
    char *name; /* owned */
    bool asked; /* an answer is due */
    int64_t asked_ms, answered_ms, used_ms;
    bool answered;              /* of which this is the latest */
    struct asset_answer answer; /* owned */
};

static void entry_free(struct asset_entry *a)
{
    free(a->name);
    asset_answer_done(&a->answer);
    free(a);
}

void job_assets_free(struct job_asset *assets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(assets[i].name);
    free(assets);
}

void assets_done(struct assets *a)
{
    for (size_t i = 0; i < ASSETS_BUCKETS; i++) {
        while (a->buckets[i]) {
            struct asset_entry *next = a->buckets[i]->chain;

            entry_free(a->buckets[i]);
            a->buckets[i] = next;
        }
    }
    *a = (struct assets){0};
}

/* FNV-1a */
static size_t bucket_of(enum asset_role role, const char *name)
{
    uint64_t x = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)role;

    for (; *name; name++)
        x = (x ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return (size_t)(x ^ x >> 32) % ASSETS_BUCKETS;
}

static struct asset_entry *find(const struct assets *a, enum asset_role role, const char *name)
{
    struct asset_entry *x = a->buckets[bucket_of(role, name)];

    while (x && (x->role != role || strcmp(x->name, name) != 0))
        x = x->chain;
    return x;
}

/* The one unused for longest makes room; wants of its files ask for it again by their lease. */
static void forget_oldest(struct assets *a)
{
    struct asset_entry **oldest = NULL, *gone;

    for (size_t i = 0; i < ASSETS_BUCKETS; i++)
        for (struct asset_entry **x = &a->buckets[i]; *x; x = &(*x)->chain)
            if (!(*x)->asked && (!oldest || (*x)->used_ms < (*oldest)->used_ms))
                oldest = x;
    if (!oldest)
        return;
    gone = *oldest;
    *oldest = gone->chain;
    entry_free(gone);
    a->n--;
}

static int add(struct assets *a, enum asset_role role, const char *name,
               struct asset_entry **ret_entry, struct err *e)
{
    struct asset_entry *x = calloc(1, sizeof *x), **bucket = &a->buckets[bucket_of(role, name)];

    if (!x || !(x->name = strdup(name))) {
        free(x);
        return err_set(e, ERR_OOM, "no memory for a task's files");
    }
    x->role = role;
    x->chain = *bucket;
    *bucket = x;
    a->n++;
    *ret_entry = x;
    return 0;
}

static int ask(struct coord *c, struct asset_entry *x, int64_t now_ms, struct outbox *o,
               struct err *e)
{
    struct out *out;
    int rc;

    TRY(outbox_add(o, OUT_ASSET, &out, e));
    out->role = x->role;
    TRY(outbox_text(o, x->name, &out->path, e));
    x->asked = true;
    x->asked_ms = now_ms;
    (void)c;
out:
    return rc;
}

/* Known well enough to be used now; else it is asked for. */
static int require(struct coord *c, enum asset_role role, const char *name, int64_t now_ms,
                   struct asset_entry **ret_entry, bool *ret_known, struct outbox *o, struct err *e)
{
    struct asset_entry *x = find(&c->assets, role, name);
    int rc = 0;

    if (!x) {
        if (c->assets.n >= ASSETS_MAX)
            forget_oldest(&c->assets);
        TRY(add(&c->assets, role, name, &x, e));
    }
    x->used_ms = now_ms;
    *ret_known = x->answered && now_ms - x->answered_ms < ASSETS_FRESH_MS;
    if (!*ret_known && (!x->asked || now_ms - x->asked_ms > ASSETS_ANSWER_MS))
        TRY(ask(c, x, now_ms, o, e));
    if (ret_entry)
        *ret_entry = x;
out:
    return rc;
}

/* The embeddings that the task's prompts may use, of the names known. */
static int add_embeddings(const struct asset_entry *names, const struct task *t,
                          struct asset_needs *needs, struct err *e)
{
    const struct listing *l = &names->answer.files;
    int rc = 0;

    for (size_t i = 0; i < l->n; i++)
        if (asset_may_use(t, l->files[i].path) && !asset_is_bound(t, l->files[i].path))
            TRY(asset_needs_add(needs, ASSET_EMBEDDING, l->files[i].path, l->files[i].path, e));
out:
    return rc;
}

int assets_ready(struct coord *c, const struct task *t, int64_t now_ms, bool *ret_ready,
                 struct outbox *o, struct err *e)
{
    struct asset_entry *names;
    struct asset_needs needs = {0};
    bool known;
    int rc = 0;

    *ret_ready = true;
    if (!c->limits.assets)
        return 0;
    TRY(asset_needs_of(t, &needs, e));
    TRY(require(c, ASSET_NAMES, "", now_ms, &names, ret_ready, o, e));
    if (*ret_ready)
        TRY(add_embeddings(names, t, &needs, e));
    for (size_t i = 0; i < needs.n; i++) {
        TRY(require(c, needs.at[i].role, needs.at[i].name, now_ms, NULL, &known, o, e));
        *ret_ready &= known;
    }
out:
    asset_needs_done(&needs);
    return rc;
}

/* Those of the task that are known to be here: f for each, with the name that it has elsewhere. */
static int each(const struct coord *c, const struct task *t,
                int (*f)(void *user, const struct asset_answer *a, const char *label,
                         struct err *e),
                void *user, struct err *e)
{
    const struct asset_entry *names = find(&c->assets, ASSET_NAMES, "");
    struct asset_needs needs = {0};
    int rc;

    TRY(asset_needs_of(t, &needs, e));
    if (names && names->answered)
        TRY(add_embeddings(names, t, &needs, e));
    for (size_t i = 0; i < needs.n; i++) {
        const struct asset_need *need = &needs.at[i];
        const struct asset_entry *x = find(&c->assets, need->role, need->name);

        if (x && x->answered && x->answer.failure.code == 0)
            TRY(f(user, &x->answer, need->label ? need->label : x->answer.label, e));
    }
out:
    asset_needs_done(&needs);
    return rc;
}

int assets_missing(const struct coord *c, const struct task *t, struct asset_missing *ret_missing,
                   size_t max, size_t *ret_n, struct err *e)
{
    struct asset_needs needs = {0};
    int rc;

    *ret_n = 0;
    TRY(asset_needs_of(t, &needs, e));
    for (size_t i = 0; i < needs.n && *ret_n < max; i++) {
        const struct asset_entry *x = find(&c->assets, needs.at[i].role, needs.at[i].name);

        struct asset_missing *m = &ret_missing[*ret_n];

        if (!x || !x->answered || x->answer.failure.code == 0)
            continue;
        *m = (struct asset_missing){x->role, x->name, "", &x->answer.failure};
        if (needs.at[i].label)
            text_cut(m->label, sizeof m->label, needs.at[i].label);
        ++*ret_n;
    }
out:
    asset_needs_done(&needs);
    return rc;
}

static int add_row(void *user, const struct asset_answer *a, const char *label, struct err *e)
{
    struct asset_set *set = user;
    struct lease_asset *grown;
    const char **names;

    if (set->n == MSG_ASSETS_MAX)
        return 0; /* the rest is the worker's to find */
    grown = realloc(set->rows, (set->n + 1) * sizeof *grown);
    if (!grown)
        return err_set(e, ERR_OOM, "no memory for a lease's files");
    set->rows = grown;
    names = realloc(set->names, (set->n + 1) * sizeof *names);
    if (!names)
        return err_set(e, ERR_OOM, "no memory for a lease's files");
    set->names = names;
    names[set->n] = a->name;
    grown[set->n] = (struct lease_asset){.role = asset_role_name(a->role),
                                         .name = strdup(label),
                                         .folder = a->folder,
                                         .bytes = a->bytes};
    memcpy(grown[set->n].sha256, a->sha256, HASH_HEX_SIZE);
    return grown[set->n++].name ? 0 : err_set(e, ERR_OOM, "no memory for a lease's files");
}

int asset_set_of(const struct coord *c, const struct task *t, const char *task,
                 struct asset_set *ret_set, struct err *e)
{
    struct asset_set set = {0};
    struct asset_hash *hashes = NULL;
    int rc;

    TRY(each(c, t, add_row, &set, e));
    hashes = calloc(set.n ? set.n : 1, sizeof *hashes);
    if (!hashes)
        TRY(err_set(e, ERR_OOM, "no memory for a lease's files"));
    for (size_t i = 0; i < set.n; i++)
        hashes[i] = (struct asset_hash){.role = asset_role_from_name(set.rows[i].role),
                                        .name = set.rows[i].name,
                                        .sha256 = set.rows[i].sha256};
    if (c->limits.assets)
        TRY(asset_task_hash(task, hashes, set.n, set.task_hash, e));
    *ret_set = set;
    set = (struct asset_set){0};
out:
    free(hashes);
    asset_set_done(&set);
    return rc;
}

void asset_set_done(struct asset_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        free((char *)(uintptr_t)set->rows[i].name);
    free(set->rows);
    free(set->names);
    *set = (struct asset_set){0};
}

static uint64_t mark_of(const char *role, const char *name, const char *sha256)
{
    const char *const texts[] = {role, name, sha256};
    uint64_t x = UINT64_C(0xcbf29ce484222325);

    for (int i = 0; i < 3; i++)
        for (const char *p = texts[i]; *p; p++)
            x = (x ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    return x | 1;
}

const char *assets_sha256(const struct coord *c, enum asset_role role, const char *name)
{
    const struct asset_entry *x = find(&c->assets, role, name);

    return x && x->answered && x->answer.failure.code == 0 ? x->answer.sha256 : NULL;
}

int assets_note(const struct task_entry *t, const struct asset_set *set, struct outbox *o,
                struct err *e)
{
    const char *init = t->later ? asset_role_name(ASSET_INIT) : "";
    struct job_entry *j = t->job;
    struct out *out;
    int rc = 0;

    for (size_t i = 0; i < set->n && j->n_noted < COORD_NOTED_MAX; i++) {
        uint64_t mark = mark_of(set->rows[i].role, set->names[i], set->rows[i].sha256);
        bool known = false;

        for (size_t k = 0; k < j->n_noted && k < COORD_NOTED_KEPT; k++)
            known |= j->noted[k] == mark;
        if (known || strcmp(set->rows[i].role, init) == 0)
            continue;
        j->noted[j->n_noted++ % COORD_NOTED_KEPT] = mark;
        TRY(outbox_add(o, OUT_STORE, &out, e));
        out->row.op = STORE_ASSET;
        out->row.job = j->number;
        out->row.code = set->rows[i].role;
        memcpy(out->row.task_hash, set->rows[i].sha256, sizeof out->row.task_hash);
        TRY(outbox_text(o, set->names[i], &out->row.text, e));
    }
out:
    return rc;
}

static int add_expected(void *user, const struct asset_answer *a, const char *label, struct err *e)
{
    static const char *const prefixes[ASSET_ROLES] = {"",     "config:", "vae:",      "init_image",
                                                      "mask", "lora:",   "embedding:"};
    bool alone = a->role == ASSET_INIT || a->role == ASSET_MASK, named = a->role >= ASSET_LORA;
    struct buf path = {0};
    int rc = 0;

    for (size_t i = 0; i < a->files.n; i++) {
        path.size = 0;
        buf_printf(&path, "%s%s", prefixes[a->role],
                   alone   ? ""
                   : named ? label
                           : a->files.files[i].path);
        TRY(buf_check(&path, e));
        TRY(listing_add(user, buf_text(&path), a->files.files[i].sha256, 0, e));
    }
out:
    buf_done(&path);
    return rc == ERR_INPUT ? 0 : rc; /* a name too long to be compared */
}

int asset_expected(const struct coord *c, const struct task *t, struct listing *ret_files,
                   struct err *e)
{
    return c->limits.assets ? each(c, t, add_expected, ret_files, e) : 0;
}

/* What is known is asked for again before it is used. */
static void assets_doubt(struct coord *c)
{
    for (size_t i = 0; i < ASSETS_BUCKETS; i++)
        for (struct asset_entry *x = c->assets.buckets[i]; x; x = x->chain)
            x->answered_ms = -ASSETS_FRESH_MS;
    lacks_forget(c);
}

void assets_doubt_missing(struct coord *c)
{
    for (size_t i = 0; i < ASSETS_BUCKETS; i++)
        for (struct asset_entry *x = c->assets.buckets[i]; x; x = x->chain)
            if (x->answered && x->answer.failure.code != 0)
                x->answered_ms = -ASSETS_FRESH_MS;
    lacks_forget(c);
}

/* The rows all have an answer that is fresh; ret_changed: one of them is another file now. */
static int rechecked(struct coord *c, const struct job_entry *j, int64_t now_ms, bool *ret_known,
                     bool *ret_changed, struct outbox *o, struct err *e)
{
    bool names;
    int rc = 0;

    *ret_known = true;
    *ret_changed = false;
    for (size_t i = 0; i < j->n_recheck; i++) {
        const struct job_asset *r = &j->recheck[i];
        struct asset_entry *x;
        bool known;

        TRY(require(c, r->role, r->name, now_ms, &x, &known, o, e));
        *ret_known &= known;
        *ret_changed |=
            known && x->answer.failure.code == 0 && strcmp(x->answer.sha256, r->sha256) != 0;
    }
    TRY(require(c, ASSET_NAMES, "", now_ms, NULL, &names, o, e));
    *ret_known &= names;
out:
    return rc;
}

static void recheck_done(struct job_entry *j)
{
    job_assets_free(j->recheck, j->n_recheck);
    j->recheck = NULL;
    j->n_recheck = 0;
    j->rechecking = false;
}

static int recheck_go(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                      struct err *e)
{
    struct out *out;
    bool known, changed;
    int rc;

    if (j->reopening && j->reopen == REOPEN_ALL) { /* asked for meanwhile: no file matters */
        recheck_done(j);
        return 0;
    }
    TRY(rechecked(c, j, now_ms, &known, &changed, o, e));
    if (!known)
        goto out;
    recheck_done(j);
    TRY(outbox_add(o, OUT_REOPEN, &out, e));
    out->job = j->number;
    out->reopen = changed ? REOPEN_CHANGED : REOPEN_MISSING;
out:
    return rc;
}

int on_job_assets(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
                  struct err *e)
{
    struct job_entry *j = coord_job(c, event->job);

    if (!j)
        return 0;
    recheck_done(j);
    j->recheck = event->assets;
    j->n_recheck = event->n_assets;
    j->rechecking = true;
    assets_doubt(c);
    return recheck_go(c, j, now_ms, o, e);
}

int on_asset(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
             struct err *e)
{
    struct asset_answer *a = event->asset;
    struct asset_entry *x = find(&c->assets, a->role, a->name);
    int rc = 0;

    if (!x)
        return 0;
    if (a->failure.code != 0 && a->failure.code != ERR_MISSING &&
        (!x->answered || strcmp(x->answer.failure.text, a->failure.text) != 0))
        TRY(outbox_log(o, LOG_WARN, e, "asset_unusable", "role=%s name=%.200s why=\"%.600s\"",
                       asset_role_name(a->role), a->name, a->failure.text));
    if (a->failure.code == 0 && a->role != ASSET_NAMES &&
        (!x->answered || strcmp(x->answer.sha256, a->sha256) != 0))
        TRY(outbox_log(o, LOG_INFO, e, "asset",
                       "role=%s name=%.200s sha256=%s bytes=%llu files=%zu",
                       asset_role_name(a->role), a->name, a->sha256, (unsigned long long)a->bytes,
                       a->files.n));
    asset_answer_done(&x->answer);
    x->answer = *a;
    *a = (struct asset_answer){0};
    x->asked = false;
    x->answered = true;
    x->answered_ms = now_ms;
    TRY(sched_awaited(c, now_ms, o, e));
    for (size_t i = 0; i < c->n_jobs; i++)
        if (c->jobs[i]->rechecking)
            TRY(recheck_go(c, c->jobs[i], now_ms, o, e));
out:
    return rc;
}

/* Whether a job's task names the file: any that the depot found for one. */
static bool is_named(const struct assets *a, const char *hex)
{
    for (size_t i = 0; i < ASSETS_BUCKETS; i++) {
        for (const struct asset_entry *x = a->buckets[i]; x; x = x->chain) {
            if (!x->answered || x->answer.failure.code != 0 || x->role == ASSET_NAMES)
                continue;
            if (strcmp(x->answer.sha256, hex) == 0)
                return true;
            for (size_t k = 0; k < x->answer.files.n; k++)
                if (strcmp(x->answer.files.files[k].sha256, hex) == 0)
                    return true;
        }
    }
    return false;
}

/* What the worker holds names files: after a restart nobody has asked for them yet. */
static int ask_for_held(struct coord *c, const struct worker *w, int64_t now_ms, bool *ret_ready,
                        struct outbox *o, struct err *e)
{
    bool ready;
    int rc = 0;

    *ret_ready = true;
    for (size_t i = 0; i < w->n_tasks; i++) {
        struct task task = {0};

        TRY(sched_describe(w->tasks[i], &task, e));
        rc = assets_ready(c, &task, now_ms, &ready, o, e);
        task_done(&task);
        TRY(rc);
        *ret_ready &= ready;
    }
out:
    return rc;
}

/* A place among the workers that are sent parts of files. */
static bool serves(struct assets *a, uint64_t session, int64_t now_ms)
{
    struct served *place = NULL;

    for (size_t i = 0; i < ASSETS_SERVED_MAX; i++) {
        if (a->served[i].session == session) {
            place = &a->served[i];
            break;
        }
        if (!place && a->served[i].until_ms <= now_ms)
            place = &a->served[i];
    }
    if (!place)
        return false;
    *place = (struct served){.session = session, .until_ms = now_ms + ASSETS_SERVED_MS};
    return true;
}

static int refuse(struct coord *c, const struct worker *w, const struct msg_want *m,
                  struct outbox *o, struct err *e)
{
    struct msg gone = {.type = MSG_GONE,
                       .gone = {.code = err_name(ERR_MISSING),
                                .text = "no task of the coordinator's jobs names this file"}};

    c->assets.refused++;
    memcpy(gone.gone.sha256, m->sha256, HASH_HEX_SIZE);
    return outbox_send(o, &w->peer, &gone, e);
}

int on_want(struct coord *c, struct worker *w, const struct msg_want *m, int64_t now_ms,
            struct outbox *o, struct err *e)
{
    struct out *out;
    bool ready;
    int rc = 0;

    c->assets.wants++;
    if (!c->limits.assets)
        return refuse(c, w, m, o, e);
    if (!is_named(&c->assets, m->sha256)) {
        TRY(ask_for_held(c, w, now_ms, &ready, o, e));
        /* Until it has said what it holds, and that is known, it may yet be right: it wants again.
         */
        if (ready && w->stated)
            TRY(refuse(c, w, m, o, e));
        goto out;
    }
    if (!serves(&c->assets, w->session, now_ms))
        goto out;
    TRY(outbox_add(o, OUT_CHUNK, &out, e));
    out->peer = w->peer;
    out->want = *m;
out:
    return rc;
}

const char *assets_hashing(const struct coord *c, const struct job_entry *j)
{
    struct asset_needs needs = {0};
    const char *name = NULL;

    for (size_t i = 0; c->assets.waiting && i < c->n_buckets && !name; i++) {
        for (const struct task_entry *t = c->buckets[i]; t && !name; t = t->chain) {
            struct task task = {0};

            if (t->job != j || !t->awaits_assets || job_task(j->job, t->index, &task, NULL) != 0)
                continue;
            asset_needs_of(&task, &needs, NULL);
            for (size_t k = 0; k < needs.n && !name; k++) {
                const struct asset_entry *x = find(&c->assets, needs.at[k].role, needs.at[k].name);

                if (x && x->asked)
                    name = x->name;
            }
            asset_needs_done(&needs);
            task_done(&task);
        }
    }
    return name;
}
