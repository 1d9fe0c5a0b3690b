#include "worker/order.h"

#include "jobs/folder_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "no memory for a lease's files");
}

/* --- what this machine has under the task's names --- */

static const char *field_of(const struct task *t, enum asset_role role)
{
    const char *const fields[] = {t->model, t->model_config, t->vae, t->init_image, t->mask};

    return role <= ASSET_MASK ? fields[role] : NULL;
}

/* What the task binds the asset's name to; NULL: nothing. */
static const char *bound_file(const struct task *t, const struct order_asset *a)
{
    return a->role == ASSET_LORA        ? names_find(&t->loras, a->label)
           : a->role == ASSET_EMBEDDING ? names_find(&t->embeddings, a->label)
                                        : NULL;
}

/* An absolute path. */
static int find_itself(const char *path, struct buf *ret_path)
{
    buf_puts(ret_path, path && *path == '/' ? path : "");
    return ret_path->size ? 0 : ERR_MISSING;
}

static int find_own(const struct library *library, const struct task *t,
                    const struct order_asset *a, struct buf *ret_path)
{
    const char *field = field_of(t, a->role);

    if (a->bound)
        return find_itself(bound_file(t, a), ret_path);
    switch (a->role) {
    case ASSET_MODEL:
        return library_find(library, field, ret_path, NULL);
    case ASSET_CONFIG:
        return library_find_config(library, field ? field : "", ret_path, NULL);
    case ASSET_VAE:
        return library_find_vae(library, field ? field : "", ret_path, NULL);
    case ASSET_LORA:
        return library_find_lora(library, a->label, ret_path, NULL);
    case ASSET_EMBEDDING:
        return library_find_embedding(library, a->label, ret_path, NULL);
    default:
        return find_itself(field, ret_path);
    }
}

static int asset_take(struct order_asset *a, const struct lease_asset *l, const struct task *t,
                      const struct library *library, struct err *e)
{
    struct buf own = {0};
    int rc = 0;

    a->role = asset_role_from_name(l->role);
    if (a->role == ASSET_ROLES)
        return err_set(e, ERR_INPUT, "a lease with an asset of role '%.50s'", l->role);
    if (!asset_name_is_safe(l->name, strlen(l->name)))
        return err_set(e, ERR_INPUT, "a lease with an asset whose name is no safe one");
    if (l->folder && a->role > ASSET_VAE)
        return err_set(e, ERR_INPUT, "a lease with a folder as %s", l->role);
    memcpy(a->sha256, l->sha256, HASH_HEX_SIZE);
    a->folder = l->folder;
    a->bytes = l->bytes;
    a->label = strdup(l->name);
    if (!a->label)
        TRY(no_memory(e));
    a->bound = bound_file(t, a) != NULL;
    if (library && find_own(library, t, a, &own) == 0)
        a->own = buf_detach(&own);
    if (a->folder)
        goto out;
    a->files = calloc(1, sizeof *a->files);
    if (!a->files)
        TRY(no_memory(e));
    a->n_files = 1;
    a->files[0].bytes = a->bytes;
    memcpy(a->files[0].sha256, a->sha256, HASH_HEX_SIZE);
    a->listed = true;
out:
    buf_done(&own);
    return rc;
}

/* --- the task's own names that the lease does not list --- */

static bool is_listed(const struct order *o, enum asset_role role, const char *name)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->assets[i].role == role && strcmp(o->assets[i].label, name) == 0)
            return true;
    return false;
}

static int bind_own(struct order *o, const struct names *names, enum names_kind kind, bool own,
                    struct err *e)
{
    enum asset_role role = kind == NAMES_LORAS ? ASSET_LORA : ASSET_EMBEDDING;
    int rc = 0;

    for (size_t i = 0; i < names->n; i++) {
        const char *name = names->at[i].name, *file = names->at[i].file;
        struct given_name *bound = &o->bound[o->n_bound];
        struct stat st;

        if (is_listed(o, role, name))
            continue;
        if (!own || *file != '/' || stat(file, &st) != 0 || !S_ISREG(st.st_mode))
            TRY(err_set(e, ERR_MISSING, "%s '%s': neither the coordinator nor this worker has '%s'",
                        names_noun(kind), name, file));
        *bound = (struct given_name){
            .embedding = kind == NAMES_EMBEDDINGS, .name = strdup(name), .path = strdup(file)};
        o->n_bound++;
        if (!bound->name || !bound->path)
            TRY(no_memory(e));
    }
out:
    return rc;
}

/* A LoRA that the prompt calls by its name in the library, and the coordinator does not have. */
static int bind_called(struct order *o, const struct asset_need *need,
                       const struct library *library, struct err *e)
{
    struct given_name *bound = &o->bound[o->n_bound];
    struct buf path = {0};
    int rc = 0;

    if (!library)
        TRY(err_set(e, ERR_MISSING, "LoRA '%s': the coordinator does not have it", need->label));
    TRY(library_find_lora(library, need->label, &path, e));
    *bound = (struct given_name){.name = strdup(need->label), .path = buf_detach(&path)};
    o->n_bound++;
    if (!bound->name || !bound->path)
        TRY(no_memory(e));
out:
    buf_done(&path);
    return rc;
}

static int bind_rest(struct order *o, const struct task *t, const struct library *library,
                     struct err *e)
{
    struct asset_needs needs = {0};
    int rc;

    TRY(asset_needs_of(t, &needs, e));
    o->bound = calloc(t->loras.n + t->embeddings.n + needs.n + 1, sizeof *o->bound);
    if (!o->bound)
        TRY(no_memory(e));
    TRY(bind_own(o, &t->loras, NAMES_LORAS, library != NULL, e));
    TRY(bind_own(o, &t->embeddings, NAMES_EMBEDDINGS, library != NULL, e));
    for (size_t i = 0; i < needs.n; i++)
        if (needs.at[i].role == ASSET_LORA && !names_find(&t->loras, needs.at[i].label) &&
            !is_listed(o, ASSET_LORA, needs.at[i].label))
            TRY(bind_called(o, &needs.at[i], library, e));
out:
    asset_needs_done(&needs);
    return rc;
}

int order_new(const struct attempt_ref *ref, const char *task, const struct lease_asset *assets,
              size_t n, const struct library *library, struct order **ret_order, struct err *e)
{
    struct order *o = calloc(1, sizeof *o);
    struct task t = {0};
    int rc = 0;

    if (!o || !(o->assets = calloc(n ? n : 1, sizeof *o->assets)))
        TRY(no_memory(e));
    o->ref = *ref;
    TRY(task_from_json(task, strlen(task), &t, e));
    for (size_t i = 0; i < n; i++, o->n++) {
        if ((rc = asset_take(&o->assets[i], &assets[i], &t, library, e)) != 0) {
            o->n++;
            goto out;
        }
    }
    TRY(bind_rest(o, &t, library, e));
    *ret_order = o;
    o = NULL;
out:
    task_done(&t);
    order_free(o, NULL);
    return rc;
}

static void files_free(struct order_asset *a, struct cache *c)
{
    for (size_t k = 0; k < a->n_files; k++) {
        if (a->files[k].held)
            cache_release(c, a->files[k].sha256);
        free(a->files[k].path);
        a->files[k].path = NULL;
        a->files[k].held = false;
    }
}

void order_free(struct order *o, struct cache *c)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n; i++) {
        files_free(&o->assets[i], c);
        free(o->assets[i].files);
        free(o->assets[i].label);
        free(o->assets[i].own);
        listing_done(&o->assets[i].listing);
    }
    for (size_t i = 0; i < o->n_bound; i++) {
        free(o->bound[i].name);
        free(o->bound[i].path);
    }
    free(o->bound);
    free(o->assets);
    free(o);
}

void order_unlocate(struct order *o, struct cache *c)
{
    for (size_t i = 0; i < o->n; i++)
        files_free(&o->assets[i], c);
}

/* --- locating --- */

/* A folder's files from its listing. */
static int list(struct order_asset *a, const struct buf *text, struct err *e)
{
    int rc = 0;

    TRY(listing_parse(text->data, text->size, &a->listing, e));
    if (listing_bytes(&a->listing) != a->bytes)
        TRY(err_set(e, ERR_INPUT, "'%s': its listing has %llu bytes, the lease says %llu", a->label,
                    (unsigned long long)listing_bytes(&a->listing), (unsigned long long)a->bytes));
    a->files = calloc(a->listing.n ? a->listing.n : 1, sizeof *a->files);
    if (!a->files)
        TRY(no_memory(e));
    a->n_files = a->listing.n;
    for (size_t k = 0; k < a->n_files; k++) {
        a->files[k].bytes = a->listing.files[k].bytes;
        memcpy(a->files[k].sha256, a->listing.files[k].sha256, HASH_HEX_SIZE);
    }
    a->listed = true;
out:
    return rc;
}

static int own_path(const struct order_asset *a, size_t k, struct buf *ret_path, struct err *e)
{
    if (a->own)
        buf_printf(ret_path, "%s%s%s", a->own, a->folder ? "/" : "",
                   a->folder ? a->listing.files[k].path : "");
    return buf_check(ret_path, e);
}

static int locate_file(struct order_asset *a, size_t k, struct known *known, struct cache *c,
                       struct err *e)
{
    struct order_file *f = &a->files[k];
    struct buf path = {0};
    int rc;

    TRY(own_path(a, k, &path, e));
    if (!path.size || !known_is(known, buf_text(&path), f->sha256, f->bytes)) {
        path.size = 0;
        TRY(cache_hold(c, f->sha256, &f->held, e));
        if (!f->held)
            goto out;
        TRY(cache_path(c, f->sha256, &path, e));
    }
    f->path = buf_detach(&path);
    if (!f->path)
        TRY(no_memory(e));
out:
    buf_done(&path);
    return rc;
}

static int locate_asset(struct order_asset *a, struct known *known, struct cache *c,
                        struct missing *m, struct err *e)
{
    const struct buf *text;
    int rc = 0;

    if (!a->listed) {
        text = known_listing(known, a->sha256);
        if (!text) {
            *m = (struct missing){.listing = true, .label = a->label};
            memcpy(m->sha256, a->sha256, HASH_HEX_SIZE);
            return 0;
        }
        TRY(list(a, text, e));
    }
    for (size_t k = 0; k < a->n_files && !m->sha256[0]; k++) {
        if (!a->files[k].path)
            TRY(locate_file(a, k, known, c, e));
        if (a->files[k].path)
            continue;
        *m = (struct missing){.total = a->files[k].bytes, .label = a->label};
        if (a->folder)
            m->label = a->listing.files[k].path;
        memcpy(m->sha256, a->files[k].sha256, HASH_HEX_SIZE);
    }
out:
    return rc;
}

int order_locate(struct order *o, struct known *known, struct cache *c, struct missing *ret_missing,
                 struct err *e)
{
    int rc = 0;

    *ret_missing = (struct missing){0};
    for (size_t i = 0; i < o->n && !ret_missing->sha256[0]; i++)
        TRY(locate_asset(&o->assets[i], known, c, ret_missing, e));
out:
    return rc;
}

bool order_waits_for(const struct order *o, const char *sha256)
{
    for (size_t i = 0; i < o->n; i++) {
        const struct order_asset *a = &o->assets[i];

        if (!a->listed && strcmp(a->sha256, sha256) == 0)
            return true;
        for (size_t k = 0; k < a->n_files; k++)
            if (!a->files[k].path && strcmp(a->files[k].sha256, sha256) == 0)
                return true;
    }
    return false;
}

const char *order_label(const struct order *o, const char *sha256)
{
    for (size_t i = 0; i < o->n; i++) {
        const struct order_asset *a = &o->assets[i];

        if (strcmp(a->sha256, sha256) == 0)
            return a->label;
        for (size_t k = 0; k < a->n_files; k++)
            if (strcmp(a->files[k].sha256, sha256) == 0)
                return a->listing.files[k].path;
    }
    return "a file";
}

uint64_t order_fetched(const struct order *o, uint64_t *ret_total)
{
    uint64_t bytes = 0;

    *ret_total = 0;
    for (size_t i = 0; i < o->n; i++) {
        *ret_total += o->assets[i].bytes;
        for (size_t k = 0; k < o->assets[i].n_files; k++)
            bytes += o->assets[i].files[k].path ? o->assets[i].files[k].bytes : 0;
    }
    return bytes;
}

/* --- giving --- */

struct compare {
    const struct order_asset *a;
    size_t found;
    bool more;
};

static int compare_file(void *user, const char *path, struct err *e)
{
    struct compare *c = user;
    bool known = false;
    (void)e;

    for (size_t k = 0; k < c->a->listing.n && !known; k++)
        known = strcmp(c->a->listing.files[k].path, path) == 0;
    c->found += known;
    c->more |= !known;
    return 0;
}

/* The library's folder holds these files and no others that would be read. */
static bool is_own_folder(const struct order_asset *a)
{
    struct compare c = {.a = a};
    enum folder_kind kind = a->role == ASSET_MODEL    ? FOLDER_MODEL
                            : a->role == ASSET_CONFIG ? FOLDER_CONFIG
                                                      : FOLDER_PART;

    for (size_t k = 0; k < a->n_files; k++)
        if (a->files[k].held)
            return false;
    return a->own && folder_files(a->own, kind, compare_file, &c, NULL) == 0 && !c.more &&
           c.found == a->listing.n;
}

/* The folder or file, linked under its name if it lies elsewhere. */
static int give_path(const struct order_asset *a, struct view *v, char **ret_path, struct err *e)
{
    struct buf path = {0}, name = {0};
    int rc = 0;

    if (!a->folder && !a->files[0].held) {
        buf_puts(&path, a->files[0].path);
    } else if (a->folder && is_own_folder(a)) {
        buf_puts(&path, a->own);
    } else {
        TRY(view_make(v, e));
        for (size_t k = 0; k < a->n_files; k++) {
            name.size = path.size = 0;
            buf_printf(&name, "%s%s%s", a->label, a->folder ? "/" : "",
                       a->folder ? a->listing.files[k].path : "");
            TRY(buf_check(&name, e));
            TRY(view_link(v, a->sha256, buf_text(&name), a->files[k].path, &path, e));
        }
        if (a->folder && path.size) /* of the last file: back to the folder */
            path.size -= strlen(a->listing.files[a->n_files - 1].path) + 1;
        if (path.size)
            path.data[path.size] = 0;
    }
    TRY(buf_check(&path, e));
    *ret_path = buf_detach(&path);
    if (!*ret_path)
        TRY(no_memory(e));
out:
    buf_done(&path);
    buf_done(&name);
    return rc;
}

static int give_name(const struct order_asset *a, struct given *g, struct view *v, struct err *e)
{
    struct given_name *n = &g->names[g->n_names++];
    /* The engine looks into embeddings' folders itself; what a LoRA's name means, the library says.
     */
    bool own =
        a->role == ASSET_EMBEDDING && !a->bound && a->own && strcmp(a->own, a->files[0].path) == 0;
    int rc = 0;

    *n = (struct given_name){.embedding = a->role == ASSET_EMBEDDING, .name = strdup(a->label)};
    if (!n->name || (!own && !(n->path = strdup(a->files[0].path))))
        return no_memory(e);
    if (!own)
        rc = view_make(v, e);
    return rc;
}

/* Files of this machine under the task's own names. */
static int give_bound(const struct given_name *bound, struct given *g, struct view *v,
                      struct err *e)
{
    struct given_name *n = &g->names[g->n_names++];

    *n = (struct given_name){
        .embedding = bound->embedding, .name = strdup(bound->name), .path = strdup(bound->path)};
    return n->name && n->path ? view_make(v, e) : no_memory(e);
}

static int give_identity(const struct order *o, struct given *g, struct err *e)
{
    struct buf text = {0};

    for (size_t i = 0; i < o->n; i++)
        if (o->assets[i].role <= ASSET_VAE)
            buf_printf(&text, "%d:%s ", (int)o->assets[i].role, o->assets[i].sha256);
    buf_puts(&text, "");
    g->identity = text.size ? buf_detach(&text) : strdup("");
    buf_done(&text);
    return g->identity ? 0 : no_memory(e);
}

int order_give(const struct order *o, struct view *v, struct given **ret_given, struct err *e)
{
    struct given *g = calloc(1, sizeof *g);
    int rc = 0;

    if (!g || !(g->names = calloc(o->n + o->n_bound + 1, sizeof *g->names)))
        TRY(no_memory(e));
    for (size_t i = 0; i < o->n; i++) {
        const struct order_asset *a = &o->assets[i];
        char **paths[] = {&g->model, &g->config, &g->vae, &g->init, &g->mask};

        if (a->role > ASSET_MASK)
            TRY(give_name(a, g, v, e));
        else if (*paths[a->role])
            TRY(err_set(e, ERR_INPUT, "a lease with two assets of role %s",
                        asset_role_name(a->role)));
        else
            TRY(give_path(a, v, paths[a->role], e));
    }
    for (size_t i = 0; i < o->n_bound; i++)
        TRY(give_bound(&o->bound[i], g, v, e));
    TRY(give_identity(o, g, e));
    *ret_given = g;
    g = NULL;
out:
    given_free(g);
    return rc;
}

void given_free(struct given *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_names; i++) {
        free(g->names[i].name);
        free(g->names[i].path);
    }
    free(g->names);
    free(g->model);
    free(g->config);
    free(g->vae);
    free(g->init);
    free(g->mask);
    free(g->identity);
    free(g);
}
