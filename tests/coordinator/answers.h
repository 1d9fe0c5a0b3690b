/* The depot at a table: what it says of a job's model, by hand. */
#ifndef TESTS_COORDINATOR_ANSWERS_H
#define TESTS_COORDINATOR_ANSWERS_H

#include "tests/coordinator/table.h"

static inline int setup_assets(void **state)
{
    int rc = setup(state);

    ((struct table *)*state)->c.limits.assets = true;
    return rc;
}

/* The depot has the latest job's model of one file (sha256), or does not have it (NULL). */
static inline void answer_model(struct table *t, const char *sha256)
{
    struct asset_answer names = {.role = ASSET_NAMES, .name = strdup("")},
                        a = {.role = ASSET_MODEL};
    struct task task = {0};

    on(t, &(struct event){.type = EVENT_ASSET, .asset = &names});
    MUST(job_task(t->c.jobs[t->c.n_jobs - 1]->job, 0, &task, e));
    a.name = strdup(task.model);
    task_done(&task);
    if (sha256) {
        a.label = strdup("m.safetensors");
        a.bytes = 10;
        memcpy(a.sha256, sha256, HASH_HEX_SIZE);
        MUST(listing_add(&a.files, a.label, sha256, 10, e));
    } else {
        err_set(&a.failure, ERR_MISSING, "it is not here");
    }
    on(t, &(struct event){.type = EVENT_ASSET, .asset = &a});
    settle(t);
}

static inline size_t told(const struct table *t, enum msg_type type)
{
    size_t n = 0;

    for (size_t i = 0; i < t->o.n; i++)
        n += t->o.items[i].type == OUT_SEND && t->o.items[i].message == type;
    return n;
}

#endif
