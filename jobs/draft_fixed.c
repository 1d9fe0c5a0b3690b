#include "jobs/draft.h"

#include "jobs/suggest.h"

#include <string.h>

/* AUTOMATIC1111's own starting values; model and prompt have none. */
static const char *const defaults[PARAM_COUNT] = {
    [PARAM_NEGATIVE_PROMPT] = "",    [PARAM_STEPS] = "20",    [PARAM_SAMPLER] = "dpmpp_2m",
    [PARAM_SCHEDULER] = "automatic", [PARAM_CFG_SCALE] = "7", [PARAM_WIDTH] = "512",
    [PARAM_HEIGHT] = "512",          [PARAM_SEED] = "-1",     [PARAM_PRECISION] = "f32",
};

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
    if (given && given->type != NODE_SCALAR) {
        diagnose(dr->d, given->at, "'%s' takes one value here; to try several, put it under 'axes'",
                 param_name(p));
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

static int set_fixed(struct draft *dr, enum param p, json_t *value, struct err *e)
{
    if (is_axis(dr, p)) {
        json_decref(value);
        return 0;
    }
    if (json_object_set_new(dr->fixed, param_name(p), value) != 0)
        return err_set(e, ERR_OOM, "out of memory");
    return 0;
}

/* size: 512x768 stands for both sides; one of them may still be given by the command line. */
static int fix_size(struct draft *dr, const json_t *value, struct err *e)
{
    struct task t = {0};
    int rc;

    TRY(param_set(&t, PARAM_SIZE, json_string_value(value), e));
    if (!dr->given[PARAM_WIDTH])
        TRY(set_fixed(dr, PARAM_WIDTH, json_integer(t.width), e));
    if (!dr->given[PARAM_HEIGHT])
        TRY(set_fixed(dr, PARAM_HEIGHT, json_integer(t.height), e));
out:
    return rc;
}

static int fix(struct draft *dr, enum param p, struct err *e)
{
    const struct node *given = dr->given[p];
    bool side = p == PARAM_WIDTH || p == PARAM_HEIGHT;
    json_t *value = NULL;
    int rc = 0;

    if (given && given->at.line == 0 && is_axis(dr, p))
        diagnose(dr->d, given->at, "'%s' comes from a CSV file of an axis, and cannot be set here",
                 param_name(p));
    if (given)
        TRY(draft_value(dr, (int)p, given->text, given->at, &value, e));
    else if (defaults[p] && !(side && dr->given[PARAM_SIZE]))
        TRY(draft_value(dr, (int)p, defaults[p], dr->root->at, &value, e));
    else if ((p == PARAM_MODEL || p == PARAM_PROMPT) && !is_axis(dr, p) &&
             !node_get(dr->root, param_name(p)))
        diagnose(dr->d, (struct place){dr->file, 1, 1}, "'%s' is missing", param_name(p));
    if (value && p == PARAM_SIZE)
        TRY(fix_size(dr, value, e));
    else if (value) {
        json_incref(value);
        TRY(set_fixed(dr, p, value, e));
    }
out:
    json_decref(value);
    return rc;
}

int draft_fixed(struct draft *dr, struct err *e)
{
    const struct node *map = node_get(dr->root, "defaults");
    const char *names[PARAM_COUNT];
    int rc = 0;

    for (int p = 0; p < PARAM_COUNT; p++)
        names[p] = param_name((enum param)p);
    if (map && map->type != NODE_MAP) {
        if (map->type == NODE_LIST || *map->text)
            diagnose(dr->d, map->at, "'defaults' is a mapping of parameters to values");
        map = NULL;
    }
    if (map)
        draft_check_keys(dr, map, " in 'defaults'", names, PARAM_COUNT);
    for (int p = 0; p < PARAM_COUNT; p++)
        dr->given[p] = find_given(dr, map, (enum param)p);
    settle_size(dr, PARAM_WIDTH);
    settle_size(dr, PARAM_HEIGHT);
    dr->fixed = json_object();
    if (!dr->fixed)
        return err_set(e, ERR_OOM, "out of memory");
    for (int p = 0; p < PARAM_COUNT && rc == 0; p++)
        rc = fix(dr, (enum param)p, e);
    return rc;
}
