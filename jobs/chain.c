#include "jobs/chain.h"

#include "jobs/job.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool seed_behavior_named(const char *name, enum seed_behavior *ret_behavior)
{
    if (strcmp(name, "iter") != 0 && strcmp(name, "fixed") != 0)
        return false;
    *ret_behavior = *name == 'i' ? SEED_ITER : SEED_FIXED;
    return true;
}

bool chain_holds_still(int param)
{
    return param == PARAM_MODEL || param == PARAM_MODEL_CONFIG || param == PARAM_VAE ||
           param == PARAM_PRECISION || param == PARAM_WIDTH || param == PARAM_HEIGHT ||
           param == PARAM_SIZE || param == PARAM_INIT_IMAGE;
}

/* Columns that change from frame to frame. */
static int check_columns(const struct axes *axes, struct chain *chain, struct err *e)
{
    for (size_t a = 0; a < axes->n; a++) {
        const struct axis *axis = &axes->items[a];

        for (size_t c = 0; axis->factor == axes->n_factors - 1 && c < axis->n_columns; c++) {
            int param = axis->columns[c].param;

            if (chain_holds_still(param))
                return err_set(e, ERR_INPUT,
                               "axis '%s': %s is one for all frames of a chain: take it out of the "
                               "frames' parentheses in combine",
                               axis->name, param_name((enum param)param));
            if (param == PARAM_SEED && chain->seed_behavior != SEED_FIXED)
                return err_set(e, ERR_INPUT,
                               "axis '%s': a seed for each frame goes with seed_behavior: fixed",
                               axis->name);
        }
    }
    return 0;
}

int chain_read(const json_t *value, const struct axes *axes, struct chain *ret_chain, struct err *e)
{
    const char *name = json_string_value(json_object_get(value, "axis"));
    const char *behavior = json_string_value(json_object_get(value, "seed_behavior"));
    struct chain chain = {.frames = 1};
    const struct axis *axis = NULL;
    int rc;

    *ret_chain = chain;
    if (!value)
        return 0;
    if (!name || !behavior || json_object_size(value) != 2)
        return err_set(e, ERR_INPUT, "chain: has axis and seed_behavior, both text");
    if (!seed_behavior_named(behavior, &chain.seed_behavior))
        return err_set(e, ERR_INPUT, "chain: seed_behavior is iter or fixed, not '%.80s'",
                       behavior);
    for (size_t a = 0; a < axes->n; a++)
        if (strcmp(axes->items[a].name, name) == 0)
            axis = &axes->items[a];
    if (!axis || axis->factor != axes->n_factors - 1)
        return err_set(e, ERR_INPUT,
                       "combine: '%.80s' must stand in the last factor: a chain's frames follow "
                       "each other",
                       name);
    chain.frames = axis->length;
    if (chain.frames > JOB_FRAMES_MAX)
        return err_set(e, ERR_INPUT, "chain: %" PRIu64 " frames are more than %d", chain.frames,
                       JOB_FRAMES_MAX);
    rc = check_columns(axes, &chain, e);
    if (rc == 0)
        *ret_chain = chain;
    return rc;
}

int chain_check_exclude(const struct chain *chain, const struct exclude *exclude, struct err *e)
{
    const struct exclude_factor *frames;

    if (chain->frames == 1 || exclude->n_rules == 0)
        return 0;
    frames = &exclude->factors[exclude->axes->n_factors - 1];
    if (frames->base == (1u << exclude->n_rules) - 1 && frames->n_marks == 0)
        return 0;
    return err_set(e, ERR_INPUT,
                   "exclude: a rule names what changes from frame to frame; only whole chains can "
                   "be left out");
}

int chain_apply(const struct chain *chain, uint64_t frame, const char *before, struct task *t,
                struct err *e)
{
    char *init;

    if (frame == 0)
        return 0;
    if (chain->seed_behavior == SEED_ITER)
        t->seed = (int64_t)(((uint64_t)t->seed + frame) & (uint64_t)TASK_SEED_MAX);
    init = strdup(before);
    if (!init)
        return err_set(e, ERR_OOM, "out of memory for a task");
    free(t->init_image);
    t->init_image = init;
    return 0;
}
