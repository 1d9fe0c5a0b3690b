#include "jobs/cli/order.h"

#include "coordinator/job_folder.h"
#include "jobs/cli/models.h"
#include "jobs/diagnostic.h"
#include "proto/plain.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct dice {
    bool thrown;
};

static int64_t draw_seed(void *user)
{
    struct dice *dice = user;
    uint32_t seed = 0;

    dice->thrown = true;
    while (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        ;
    return seed;
}

/* How much of a message is its place: "job.yaml:3:7", or the override. */
static size_t place_size(const struct diagnostic *d)
{
    struct buf place = {0};
    size_t size;

    place_text((struct place){d->file, d->line, d->column}, &place);
    size = place.size;
    buf_done(&place);
    return size;
}

/* A manifest's name may have come in an archive. */
static void put_plain(FILE *file, const char *text, size_t size)
{
    char *copy = strndup(text, size);

    if (copy) {
        plain_text(copy);
        fputs(copy, file);
    }
    free(copy);
}

/* The place comes first, as compilers have it: editors jump there. */
static void diagnostics_show(struct cli *c, const struct diagnostics *d)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct diagnostic *item = &d->items[i];
        size_t size = place_size(item);

        fputs(style(&c->err, item->warning ? STYLE_YELLOW : STYLE_RED), c->err.file);
        put_plain(c->err.file, item->text, size);
        fputs(style(&c->err, STYLE_OFF), c->err.file);
        put_plain(c->err.file, item->text + size, strlen(item->text + size));
        fputc('\n', c->err.file);
    }
}

static int resume(const struct state *state, struct order *d, struct err *e)
{
    struct buf earlier = {0};
    struct job *job = NULL;
    int rc = state_bundle_read(state, d->source_hash, &earlier, NULL);

    if (rc == ERR_MISSING) {
        buf_done(&earlier);
        return 0;
    }
    if (rc == 0)
        rc = job_load(earlier.data, earlier.size, &job, e);
    if (rc != 0) {
        buf_done(&earlier);
        return err_set(e, ERR_IO,
                       "%s/%s.json, the seeds of an earlier run, cannot be read; remove it to draw "
                       "new ones",
                       state->bundles, d->source_hash);
    }
    job_free(d->job);
    buf_done(&d->bundle);
    d->job = job;
    d->bundle = earlier;
    d->drawn = false;
    d->resumed = true;
    return 0;
}

/* Where its pictures are, or will be. An output folder that cannot be read is told by who uses it.
 */
static int find_folder(const struct state *state, struct order *d, struct err *e)
{
    struct buf folder = {0};
    int rc = job_folder_peek(state->out, d->job, &folder, NULL);

    rc = rc == 0 ? job_set_folder(d->job, buf_text(&folder), e) : 0;
    buf_done(&folder);
    return rc;
}

int order_read(struct cli *c, const struct state *state, struct order *ret_d, struct err *e)
{
    struct order *d = ret_d;
    struct dice dice = {0};
    char *model = NULL;
    struct manifest_options o = {.path = c->options.arguments[0],
                                 .sets = c->options.sets,
                                 .n_sets = c->options.n_sets,
                                 .draw_seed = draw_seed,
                                 .user = &dice};
    int rc = 0;

    *d = (struct order){0};
    if (cli_has(c, OPTION_MODEL))
        TRY(model_resolve(c->options.value[OPTION_MODEL], &model, e));
    o.model = model;
    rc = manifest_load(&o, &d->diagnostics, &d->bundle, d->source_hash, e);
    if (!cli_has(c, OPTION_JSON))
        diagnostics_show(c, &d->diagnostics);
    TRY(rc);
    d->drawn = dice.thrown;
    TRY(job_load(d->bundle.data, d->bundle.size, &d->job, e));
    if (state != NULL && d->drawn)
        TRY(resume(state, d, e));
    if (state != NULL)
        TRY(find_folder(state, d, e));
out:
    free(model);
    return rc;
}

int order_keep(const struct order *d, const struct state *state, struct err *e)
{
    return d->drawn ? state_bundle_write(state, d->source_hash, &d->bundle, e) : 0;
}

static void mistakes_json(struct cli *c, const struct order *d)
{
    json_t *list = json_array();

    for (size_t i = 0; i < d->diagnostics.n; i++) {
        const struct diagnostic *item = &d->diagnostics.items[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:b}", "text", item->text,
                                              "file", item->file, "line", item->line, "column",
                                              item->column, "warning", item->warning));
    }
    cli_json(c, json_pack("{s:o}", "mistakes", list));
}

int order_fail(struct cli *c, const struct order *d, const struct err *e)
{
    if (d->diagnostics.n_errors == 0) {
        cli_fail(c, e);
        return EXIT_USAGE;
    }
    if (cli_has(c, OPTION_JSON))
        mistakes_json(c, d);
    else
        cli_note(c, "%s", e->text);
    return EXIT_USAGE;
}

void order_done(struct order *d)
{
    job_free(d->job);
    buf_done(&d->bundle);
    diagnostics_done(&d->diagnostics);
    *d = (struct order){0};
}
