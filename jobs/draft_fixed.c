#include "jobs/draft.h"

#include "jobs/axis.h"

#include <stdlib.h>
#include <string.h>

/* True if an axis sets the parameter. */
static bool is_axis(const struct draft *dr, enum param p)
{
    size_t axis, column;
    bool side = p == PARAM_WIDTH || p == PARAM_HEIGHT;

    return draft_find(dr, param_name(p), &axis, &column) ||
           (side && draft_find(dr, "size", &axis, &column));
}

/* The one place that gives a parameter for all tasks. */
static struct node *find_given(struct draft *dr, const struct node *map, enum param p)
{
    struct node *top = node_get(dr->root, param_name(p));
    struct node *inner = map ? node_get(map, param_name(p)) : NULL;
    struct node *given = top ? top : inner;
    struct buf other = {0};

    if (top && inner) {
        place_text(top->at, &other);
        diagnose(dr->d, inner->at, "'%s' is given twice, also at %s", param_name(p),
                 buf_text(&other));
        buf_done(&other);
    }
    if (given && given->type == NODE_MAP && p == PARAM_MODEL) {
        diagnose(dr->d, given->at,
                 "'model' is a name, a path, or {file: x.safetensors, config: FOLDER}: 'file' is "
                 "missing");
        return NULL;
    }
    if (given && given->type != NODE_SCALAR) {
        diagnose(dr->d, given->at,
                 "'%s' takes one value here; to try several, put it under 'axes'%s", param_name(p),
                 given->type == NODE_LIST && (p == PARAM_PROMPT || p == PARAM_NEGATIVE_PROMPT)
                     ? "; a text that begins with '[' needs quotes around it"
                     : "");
        return NULL;
    }
    if (given && given->plain && !*given->text) {
        diagnose(dr->d, given->at, "'%s' has no value", param_name(p));
        return NULL;
    }
    return given;
}

/* The command line wins over the file: of size and a side, the one that came from it stays. */
static void settle_size(struct draft *dr, enum param side)
{
    struct node **size_at = &dr->given[PARAM_SIZE], **side_at = &dr->given[side];

    if (!*size_at || !*side_at)
        return;
    if ((*size_at)->at.line != 0 && (*side_at)->at.line != 0)
        diagnose(dr->d, (*side_at)->at, "'%s' and 'size' are both given", param_name(side));
    else if ((*size_at)->at.line == 0)
        *side_at = NULL;
}

/* Adds a parameter, unless an axis sets it, or it is at its default and can be left out. */
static int set_fixed(struct draft *dr, enum param p, const char *text, struct err *e)
{
    bool drawn = strcmp(text, "-1") == 0;
    struct task t = {0};
    json_t *value;
    int rc = 0;

    if (is_axis(dr, p))
        return 0;
    if (!drawn)
        TRY(param_set(&t, p, text, e));
    if (!drawn && param_is_absent(&t, p))
        goto out;
    value = drawn ? json_integer(-1) : param_json(&t, p);
    if (!value || json_object_set_new(dr->fixed, param_name(p), value) != 0)
        TRY(err_set(e, ERR_OOM, "out of memory"));
out:
    task_done(&t);
    return rc;
}

/* size: 512x768 stands for both sides; one of them may still be given by the command line. */
static int fix_size(struct draft *dr, const char *size, struct err *e)
{
    static const enum param sides[] = {PARAM_WIDTH, PARAM_HEIGHT};
    struct task t = {0};
    int rc;

    TRY(param_set(&t, PARAM_SIZE, size, e));
    for (size_t i = 0; i < 2; i++) {
        char text[32];

        snprintf(text, sizeof text, "%d", i == 0 ? t.width : t.height);
        if (!dr->given[sides[i]])
            TRY(set_fixed(dr, sides[i], text, e));
    }
out:
    return rc;
}

/* The text of a value that is not given. NULL: it must be, or something else gives it. */
static const char *preset(const struct draft *dr, enum param p)
{
    const struct node *sampler = dr->given[PARAM_SAMPLER];
    const struct node *strength = dr->given[PARAM_SUBSEED_STRENGTH];
    enum sampler_id id;
    int scheduler;

    if ((p == PARAM_WIDTH || p == PARAM_HEIGHT) && dr->given[PARAM_SIZE])
        return NULL;
    if (p == PARAM_SCHEDULER && sampler && !is_axis(dr, PARAM_SAMPLER) &&
        sampler_from_label(sampler->text, &id, &scheduler) == 0 && scheduler >= 0)
        return term_name(TERM_SCHEDULER, scheduler);
    if (p == PARAM_SUBSEED &&
        (is_axis(dr, PARAM_SUBSEED_STRENGTH) || (strength && strtod(strength->text, NULL) > 0)))
        return "-1";
    return param_default(p);
}

static int fix(struct draft *dr, enum param p, struct err *e)
{
    const struct node *given = dr->given[p];
    const char *text = given ? given->text : preset(dr, p);
    struct buf plain = {0};
    json_t *value = NULL;
    int rc = 0;

    if (given && given->at.line == 0 && is_axis(dr, p))
        diagnose(dr->d, given->at, "'%s' comes from a CSV file of an axis, and cannot be set here",
                 param_name(p));
    if (text)
        TRY(draft_value(dr, (int)p, text, given ? given->at : dr->root->at, &value, e));
    else if ((p == PARAM_MODEL || p == PARAM_PROMPT) && !is_axis(dr, p) &&
             !node_get(dr->root, param_name(p)))
        diagnose(dr->d, (struct place){dr->file, 1, 1}, "'%s' is missing", param_name(p));
    if (!value)
        goto out;
    TRY(axis_cell_text(value, &plain, e));
    TRY(buf_check(&plain, e));
    if (p == PARAM_SIZE)
        TRY(fix_size(dr, buf_text(&plain), e));
    else
        TRY(set_fixed(dr, p, buf_text(&plain), e));
out:
    json_decref(value);
    buf_done(&plain);
    return rc;
}

int draft_fixed(struct draft *dr, struct err *e)
{
    const struct node *map = node_get(dr->root, "defaults");
    const char *names[PARAM_COUNT + 1] = {[PARAM_COUNT] = "outpaint"};
    int rc = 0;

    for (int p = 0; p < PARAM_COUNT; p++)
        names[p] = param_name((enum param)p);
    if (map && map->type != NODE_MAP) {
        if (map->type == NODE_LIST || *map->text)
            diagnose(dr->d, map->at, "'defaults' is a mapping of parameters to values");
        map = NULL;
    }
    if (map)
        draft_check_keys(dr, map, " in 'defaults'", names, PARAM_COUNT + 1);
    for (int p = 0; p < PARAM_STYLES; p++)
        dr->given[p] = find_given(dr, map, (enum param)p);
    settle_size(dr, PARAM_WIDTH);
    settle_size(dr, PARAM_HEIGHT);
    if (dr->given[PARAM_SAMPLER] && !is_axis(dr, PARAM_SAMPLER))
        draft_check_label(dr, dr->given[PARAM_SAMPLER]->text, dr->given[PARAM_SAMPLER]->at);
    dr->fixed = json_object();
    if (!dr->fixed)
        return err_set(e, ERR_OOM, "out of memory");
    for (int p = 0; p < PARAM_STYLES && rc == 0; p++)
        rc = fix(dr, (enum param)p, e);
    return rc;
}
