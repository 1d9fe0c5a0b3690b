#include "jobs/cli/missing.h"

#include "jobs/asset.h"
#include "jobs/library.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct search {
    const struct job *job;
    struct library *library;
    struct asset_needs seen; /* files looked for, each once */
    struct missing missing;
};

static int find(const struct search *s, const struct asset_need *need, struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    if (asset_hash_of(need->name) || need->role == ASSET_MODEL)
        return 0;
    if (need->role == ASSET_CONFIG)
        rc = library_find_config(s->library, need->name, &path, e);
    else if (need->role == ASSET_VAE)
        rc = library_find_vae(s->library, need->name, &path, e);
    else if (need->name[0] == '/')
        rc = access(need->name, R_OK) == 0 ? 0 : err_errno(e, need->name);
    else if (need->role == ASSET_LORA)
        rc = library_find_lora(s->library, need->name, &path, e);
    else if (need->role == ASSET_EMBEDDING)
        rc = library_find_embedding(s->library, need->name, &path, e);
    buf_done(&path);
    return rc;
}

static int add_text(struct missing *m, const char *role, const char *text, struct err *e)
{
    char **texts = realloc(m->texts, (m->n + 1) * sizeof *texts);
    struct buf line = {0};

    if (texts)
        m->texts = texts;
    buf_printf(&line, "%s%s%s", role, *role ? " " : "", text);
    if (!texts || !(texts[m->n] = buf_detach(&line)))
        return err_set(e, ERR_OOM, "out of memory");
    m->n++;
    return 0;
}

static int look_at_need(struct search *s, const struct asset_need *need, struct err *e)
{
    struct err why = {0};
    int rc = 0;

    if (strcmp(need->name, JOB_FRAME_BEFORE) == 0)
        return 0; /* it is made */
    for (size_t i = 0; i < s->seen.n; i++)
        if (s->seen.at[i].role == need->role && strcmp(s->seen.at[i].name, need->name) == 0)
            return 0;
    if (s->seen.n == MISSING_FILES_MAX)
        return 0;
    TRY(asset_needs_add(&s->seen, need->role, need->name, NULL, e));
    if (find(s, need, &why) != 0)
        TRY(add_text(&s->missing, need->name[0] == '/' ? asset_role_name(need->role) : "", why.text,
                     e));
out:
    return rc;
}

static int look_at_task(struct search *s, uint64_t index, struct err *e)
{
    struct asset_needs needs = {0};
    struct task t = {0};
    int rc = 0;

    if (index >= job_span(s->job) || job_excluded(s->job, index))
        return 0;
    TRY(job_task(s->job, index, &t, e));
    TRY(asset_needs_of(&t, &needs, e));
    for (size_t i = 0; i < needs.n && rc == 0; i++)
        rc = look_at_need(s, &needs.at[i], e);
out:
    asset_needs_done(&needs);
    task_done(&t);
    return rc;
}

/* Each value of each axis, the others as in the first task. */
static int look_at_axes(struct search *s, struct err *e)
{
    uint64_t first = job_next(s->job, 0);
    int rc = look_at_task(s, first, e);

    for (size_t a = 0; a < job_axis_count(s->job); a++) {
        uint64_t stride = job_axis_stride(s->job, a), length = job_axis_length(s->job, a);
        uint64_t base = first - first / stride % length * stride;

        for (uint64_t i = 0; rc == 0 && i < length && i < MISSING_VALUES_MAX; i++)
            rc = look_at_task(s, base + i * stride, e);
    }
    return rc;
}

int missing_look(const struct job *job, const char *models, struct missing *ret_missing,
                 struct err *e)
{
    struct search s = {.job = job};
    int rc;

    TRY(library_open(&models, models ? 1 : 0, &s.library, e));
    TRY(look_at_axes(&s, e));
    *ret_missing = s.missing;
    s.missing = (struct missing){0};
out:
    missing_done(&s.missing);
    asset_needs_done(&s.seen);
    library_close(s.library);
    return rc;
}

void missing_done(struct missing *missing)
{
    for (size_t i = 0; i < missing->n; i++)
        free(missing->texts[i]);
    free(missing->texts);
    *missing = (struct missing){0};
}
