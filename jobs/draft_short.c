/* What people may write shorter, and the parameters that it stands for. */
#include "jobs/draft.h"

#include <string.h>

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "out of memory");
}

/* --- mappings --- */

static struct node *key_node(struct draft *dr, const char *text, struct place at)
{
    struct node *key = pool_alloc(&dr->pool, sizeof *key);

    if (key)
        *key = (struct node){.type = NODE_SCALAR, .at = at, .text = text, .plain = true};
    return key;
}

/* A part of a mapping becomes a parameter beside it. */
static int set_beside(struct draft *dr, struct node *map, enum param p, struct node *value,
                      struct err *e)
{
    struct node *there = node_get(map, param_name(p)), *key;
    struct buf other = {0};

    if (there && there->at.line != 0) {
        place_text(there->at, &other);
        diagnose(dr->d, value->at, "'%s' is given twice, also at %s", param_name(p),
                 buf_text(&other));
        buf_done(&other);
    }
    if (there)
        return 0; /* the command line's stays */
    key = key_node(dr, param_name(p), value->at);
    return key ? node_set(&dr->pool, map, key, value, e) : no_memory(e);
}

/* outpaint: {left: 64, top: 32} */
static int read_outpaint(struct draft *dr, struct node *map, struct err *e)
{
    static const char *const keys[] = {"left", "right", "top", "bottom"};
    static const enum param params[] = {PARAM_OUTPAINT_LEFT, PARAM_OUTPAINT_RIGHT,
                                        PARAM_OUTPAINT_TOP, PARAM_OUTPAINT_BOTTOM};
    const struct node *outpaint = node_get(map, "outpaint");
    int rc = 0;

    if (!outpaint)
        return 0;
    if (outpaint->type != NODE_MAP) {
        diagnose(dr->d, outpaint->at,
                 "'outpaint' is a mapping of sides to pixels: {left: 64, right: 64}");
        return 0;
    }
    draft_check_keys(dr, outpaint, " in 'outpaint'", keys, 4);
    for (size_t i = 0; i < 4 && rc == 0; i++)
        if (node_get(outpaint, keys[i]))
            rc = set_beside(dr, map, params[i], node_get(outpaint, keys[i]), e);
    return rc;
}

/* model: {file: x.safetensors, config: FOLDER} */
static int read_model(struct draft *dr, struct node *map, struct err *e)
{
    static const char *const keys[] = {"file", "config"};
    struct node *model = node_get(map, "model"), *file, *config;
    int rc = 0;

    if (!model || model->type != NODE_MAP)
        return 0;
    draft_check_keys(dr, model, " in 'model'", keys, 2);
    file = node_get(model, "file");
    config = node_get(model, "config");
    if (config)
        TRY(set_beside(dr, map, PARAM_MODEL_CONFIG, config, e));
    if (file) /* else draft_fixed tells what it is not */
        *model = *file;
out:
    return rc;
}

int draft_short(struct draft *dr, struct err *e)
{
    struct node *maps[] = {dr->root, node_get(dr->root, "defaults")};
    int rc = 0;

    for (size_t i = 0; i < 2; i++) {
        if (!maps[i] || maps[i]->type != NODE_MAP)
            continue;
        TRY(read_outpaint(dr, maps[i], e));
        TRY(read_model(dr, maps[i], e));
    }
out:
    return rc;
}

/* --- samplers' labels --- */

/* What gives the scheduler for all tasks, or NULL. */
static const struct node *given_scheduler(const struct draft *dr)
{
    const struct node *defaults = node_get(dr->root, "defaults");
    const struct node *given = node_get(dr->root, "scheduler");

    if (!given && defaults && defaults->type == NODE_MAP)
        given = node_get(defaults, "scheduler");
    return given && given->type == NODE_SCALAR ? given : NULL;
}

static bool scheduler_axis(const struct draft *dr)
{
    const struct node *axes = node_get(dr->root, "axes");
    size_t axis, column;

    return draft_find(dr, "scheduler", &axis, &column) ||
           (axes && axes->type == NODE_MAP && node_get(axes, "scheduler"));
}

void draft_check_label(struct draft *dr, const char *label, struct place at)
{
    const struct node *given = given_scheduler(dr);
    enum sampler_id sampler;
    int scheduler;

    if (sampler_from_label(label, &sampler, &scheduler) != 0 || scheduler < 0)
        return;
    if (scheduler_axis(dr))
        diagnose(dr->d, at,
                 "sampler '%s' names a scheduler, and an axis gives it too: write '%s' here", label,
                 sampler_name(sampler));
    else if (given && given->at.line != 0 &&
             term_from_label(TERM_SCHEDULER, given->text) != scheduler)
        diagnose(dr->d, at,
                 "sampler '%s' names a scheduler, but 'scheduler' says '%s': write '%s' here",
                 label, given->text, sampler_name(sampler));
}

int draft_note_label(struct draft *dr, struct draft_axis *axis, const char *label, struct place at,
                     struct err *e)
{
    enum sampler_id sampler;
    json_t *named;
    int scheduler;

    draft_check_label(dr, label, at);
    if (sampler_from_label(label, &sampler, &scheduler) == 0 && scheduler >= 0 &&
        !given_scheduler(dr) && !scheduler_axis(dr))
        axis->labelled = true;
    else
        scheduler = SCHEDULER_AUTOMATIC;
    named = json_string(term_name(TERM_SCHEDULER, scheduler));
    if (!axis->schedulers)
        axis->schedulers = json_array();
    if (!named || !axis->schedulers || json_array_append_new(axis->schedulers, named) != 0)
        return no_memory(e);
    return 0;
}

int draft_split_labels(struct draft *dr, struct draft_axis *axis, struct err *e)
{
    struct draft_column *columns;
    json_t *row;
    size_t i;

    if (!axis->labelled || json_array_size(axis->schedulers) != json_array_size(axis->rows))
        return 0;
    for (i = 0; i < axis->n_columns; i++)
        if (axis->columns[i].param == PARAM_SCHEDULER) {
            diagnose(dr->d, axis->columns[i].at,
                     "this file's samplers name schedulers already, such as 'DPM++ 2M Karras'");
            return 0;
        }
    columns = pool_grow(&dr->pool, axis->columns, axis->n_columns, sizeof *columns);
    if (!columns)
        return no_memory(e);
    axis->columns = columns;
    columns[axis->n_columns++] = (struct draft_column){
        .name = param_name(PARAM_SCHEDULER), .at = axis->at, .param = PARAM_SCHEDULER};
    json_array_foreach(axis->rows, i,
                       row) if (json_array_append(row, json_array_get(axis->schedulers, i)) !=
                                0) return no_memory(e);
    return 0;
}
