/* `frames` and `seed_behavior`: pictures that start from each other. */
#include "jobs/chain.h"
#include "jobs/draft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The number of frames; 0 after a mistake. */
static long count_frames(struct draft *dr, const struct node *frames)
{
    char *rest;
    long n;

    if (frames->type != NODE_SCALAR) {
        diagnose(dr->d, frames->at, "'frames' is one whole number");
        return 0;
    }
    errno = 0;
    n = strtol(frames->text, &rest, 10);
    if (errno == 0 && rest != frames->text && !*rest && n >= 1 && n <= JOB_FRAMES_MAX)
        return n;
    diagnose(dr->d, frames->at, "'frames' must be a whole number from 1 to %d, not '%s'",
             JOB_FRAMES_MAX, frames->text);
    return 0;
}

static int add_axis(struct draft *dr, const struct node *frames, long n, struct err *e)
{
    struct draft_axis *axis = &dr->axes[dr->n_axes];
    size_t a, column;

    if (draft_find(dr, DRAFT_FRAME, &a, &column)) {
        diagnose(dr->d, dr->axes[a].columns[column].at,
                 "'" DRAFT_FRAME "' counts the frames of 'frames': give this axis another name");
        return 0;
    }
    if (dr->n_axes == JOB_AXES_MAX) {
        diagnose(dr->d, frames->at, "more than %d axes, with that of the frames", JOB_AXES_MAX);
        return 0;
    }
    *axis = (struct draft_axis){
        .name = DRAFT_FRAME,
        .at = frames->at,
        .columns = pool_alloc(&dr->pool, sizeof *axis->columns),
        .n_columns = 1,
        .length = (uint64_t)n,
        .run = pool_alloc(&dr->pool, sizeof *axis->run),
        .range = json_pack("{s:i, s:i, s:I}", "first", 0, "step", 1, "count", (json_int_t)n)};
    if (!axis->columns || !axis->range || !axis->run) {
        json_decref(axis->range);
        axis->range = NULL;
        return err_set(e, ERR_OOM, "out of memory");
    }
    *axis->run = (struct number_run){.step = 1, .count = (uint64_t)n, .integer = true};
    axis->columns[0] = (struct draft_column){DRAFT_FRAME, frames->at, -1};
    dr->frames = ++dr->n_axes;
    return 0;
}

int draft_frames(struct draft *dr, struct err *e)
{
    const struct node *frames = node_get(dr->root, "frames");
    const struct node *behavior = node_get(dr->root, "seed_behavior");
    enum seed_behavior known;
    long n;

    if (behavior && !frames)
        diagnose(dr->d, behavior->at,
                 "'seed_behavior' says what becomes of the seed over frames: "
                 "give 'frames' too");
    if (behavior && (behavior->type != NODE_SCALAR || !seed_behavior_named(behavior->text, &known)))
        diagnose(dr->d, behavior->at,
                 "'seed_behavior' is iter (each frame's seed is one more) or fixed; for others zip "
                 "an axis of seeds with the frames, as in combine: \"(" DRAFT_FRAME ", seed)\"");
    if (!frames)
        return 0;
    n = count_frames(dr, frames);
    return n > 0 ? add_axis(dr, frames, n, e) : 0;
}

static bool in_zip(const struct zip *zip, int axis)
{
    for (size_t i = 0; i < zip->n; i++)
        if (zip->axes[i] == axis)
            return true;
    return false;
}

/* What must be one for all frames is not zipped with them. Returns whether the seed is. */
static bool check_zip(struct draft *dr, const struct zip *zip)
{
    bool seeded = false;

    for (size_t i = 0; i < zip->n; i++) {
        const struct draft_axis *axis = &dr->axes[zip->axes[i]];

        for (size_t c = 0; c < axis->n_columns; c++) {
            seeded |= axis->columns[c].param == PARAM_SEED;
            if (chain_holds_still(axis->columns[c].param))
                diagnose(dr->d, axis->columns[c].at,
                         "'%s' is one for all frames of a chain: take it out of the parentheses "
                         "around '" DRAFT_FRAME "' in combine",
                         axis->columns[c].name);
        }
    }
    return seeded;
}

int draft_check_frames(struct draft *dr, struct err *e)
{
    const struct node *combine = node_get(dr->root, "combine");
    const struct node *behavior = node_get(dr->root, "seed_behavior");
    const struct zip *last = dr->combine.n ? &dr->combine.factors[dr->combine.n - 1] : NULL;
    bool seeded;

    if (!dr->frames || !last)
        return 0;
    if (!in_zip(last, (int)dr->frames - 1)) {
        diagnose(dr->d, combine ? combine->at : dr->root->at,
                 "combine: '" DRAFT_FRAME "' must stand in the last factor, since the frames of a "
                 "chain follow each other; left out, it comes last by itself");
        return 0;
    }
    seeded = check_zip(dr, last);
    if (seeded && behavior && behavior->type == NODE_SCALAR && strcmp(behavior->text, "iter") == 0)
        diagnose(dr->d, behavior->at,
                 "'seed_behavior: iter' counts up from one seed, but an axis gives each frame its "
                 "own: leave one of them out");
    dr->chain = json_pack("{s:s, s:s}", "axis", DRAFT_FRAME, "seed_behavior",
                          seeded     ? "fixed"
                          : behavior ? behavior->type == NODE_SCALAR ? behavior->text : ""
                                     : "iter");
    return dr->chain ? 0 : err_set(e, ERR_OOM, "out of memory");
}
