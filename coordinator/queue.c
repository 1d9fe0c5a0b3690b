#include "coordinator/queue.h"

#include "coordinator/coord.h"

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

int queue_open(struct queue *q, const struct job *job, struct err *e)
{
    queue_done(q);
    job_groups(job, &q->groups);
    q->lots = calloc(q->groups.n, sizeof *q->lots);
    if (!q->lots)
        return err_set(e, ERR_OOM, "no memory for a job's queue");
    q->left = q->groups.n;
    q->ahead = q->groups.n * q->groups.size;
    return 0;
}

void queue_done(struct queue *q)
{
    free(q->lots);
    *q = (struct queue){0};
}

void queue_rewind(struct queue *q)
{
    for (uint64_t i = 0; i < q->groups.n; i++) {
        q->lots[i].k = 0;
        q->open[q->lots[i].needs.precision] += q->lots[i].over && q->lots[i].needs.model_key;
        q->lots[i].over = false;
    }
    q->left = q->groups.n;
    q->ahead = q->groups.n * q->groups.size;
    q->previewed = q->preview_at = 0;
}

static uint64_t mix_text(uint64_t x, const char *text)
{
    for (const char *p = text ? text : ""; *p; p++)
        x = (x ^ (unsigned char)*p) * FNV_PRIME;
    return (x ^ 0xff) * FNV_PRIME;
}

static uint64_t mix(uint64_t x, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        x = (x ^ (value & 0xff)) * FNV_PRIME;
    return x;
}

/* The `<lora:...>` of a prompt, in their order. */
static uint64_t mix_loras(uint64_t x, const char *prompt)
{
    for (const char *p = prompt; (p = strstr(p, "<lora:")); p++)
        for (const char *c = p; *c && *c != '>'; c++)
            x = (x ^ (unsigned char)*c) * FNV_PRIME;
    return x;
}

struct needs needs_of(const struct task *task)
{
    struct needs n = {0};
    int64_t width, height;
    uint64_t x = FNV_START;

    task_size(task, &width, &height);
    n.pixels = (uint64_t)width * (uint64_t)height;
    x = mix_text(x, task->model);
    x = mix_text(x, task->model_config);
    x = mix_text(x, task->vae);
    n.files_key = x | 1;
    n.precision = task->precision;
    n.model_key = mix(x, (uint64_t)task->precision) | 1;
    x = mix_loras(FNV_START, task->prompt);
    x = mix(x, (uint64_t)task->width << 32 | (uint32_t)task->height);
    n.shape_key = mix(x, n.pixels);
    return n;
}

int queue_needs(struct job_entry *j, uint64_t lot, struct needs *ret_needs, struct err *e)
{
    struct lot *l = &j->queue.lots[lot];
    struct task task = {0};
    int rc = 0;

    if (!l->needs.model_key) {
        TRY(job_task(j->job, groups_index(&j->queue.groups, lot, 0), &task, e));
        l->needs = needs_of(&task);
        j->queue.described++;
        j->queue.open[l->needs.precision] += !l->over;
    }
    *ret_needs = l->needs;
out:
    task_done(&task);
    return rc;
}

int queue_describe(struct job_entry *j, struct err *e)
{
    struct needs needs;
    int rc = 0;

    for (uint64_t i = 0; i < j->queue.groups.n && j->queue.described < j->queue.groups.n; i++)
        TRY(queue_needs(j, i, &needs, e));
out:
    return rc;
}

bool queue_may_suit(const struct queue *q, const struct worker *w)
{
    if (q->described < q->groups.n)
        return true;
    for (int i = 0; i < PRECISION_COUNT; i++)
        if (q->open[i] && abilities_render(&w->abilities, (enum precision)i))
            return true;
    return false;
}

unsigned queue_precisions(const struct queue *q)
{
    unsigned precisions = 0;

    for (int i = 0; i < PRECISION_COUNT; i++)
        precisions |= q->open[i] ? 1u << i : 0;
    return precisions;
}

/* How well a lot suits: smaller is better. */
static uint64_t lot_cost(const struct lot *l, const struct worker *w)
{
    if (abilities_same_all(&w->abilities, &w->resident, &l->needs))
        return 0;
    return (abilities_same_model(&w->abilities, &w->resident, &l->needs) ? 1 : UINT64_C(1) << 32) +
           l->in_flight;
}

int queue_lot(struct job_entry *j, const struct worker *w, bool barred, uint64_t *ret_lot,
              struct err *e)
{
    uint64_t best = j->queue.groups.n, best_cost = UINT64_MAX;
    int rc = 0;

    for (uint64_t i = 0; i < j->queue.groups.n && j->queue.left; i++) {
        struct needs needs;
        uint64_t cost;

        if (j->queue.lots[i].over)
            continue;
        TRY(queue_needs(j, i, &needs, e));
        if (!abilities_render(&w->abilities, needs.precision))
            continue;
        if (!barred && worker_is_barred(w, &needs))
            continue;
        cost = lot_cost(&j->queue.lots[i], w);
        if (cost < best_cost) {
            best = i;
            best_cost = cost;
        }
        if (cost == 0)
            break;
    }
    *ret_lot = best;
out:
    return rc;
}

static bool untouched(struct coord *c, const struct job_entry *j, uint64_t index)
{
    return !bits_has(&j->settled, index) && !coord_task(c, j, index);
}

uint64_t queue_text(const struct job_entry *j, uint64_t index)
{
    return mix(mix(FNV_START, j->number), groups_text(&j->queue.groups, index)) | 1;
}

/* Another worker is at these texts. */
static bool others_have(const struct coord *c, const struct worker *w, uint64_t text)
{
    for (size_t i = 0; i < c->n_workers; i++)
        if (c->workers[i] != w && !c->workers[i]->lost && c->workers[i]->text == text)
            return true;
    return false;
}

/* Member k of the lot is untouched: the one near it whose texts suit the worker best. */
static uint64_t best_text(struct coord *c, const struct job_entry *j, const struct worker *w,
                          uint64_t lot, uint64_t k)
{
    const struct groups *g = &j->queue.groups;
    uint64_t first = groups_index(g, lot, k), best = first, before = 0;
    bool found = false;

    if (queue_text(j, first) == w->text)
        return first;
    for (int looks = 0; looks < QUEUE_AHEAD_MAX && k < g->size; looks++, k++) {
        uint64_t index = groups_index(g, lot, k), text = queue_text(j, index);

        if (text != w->text && (found || text == before))
            continue;
        if (job_next(j->job, index) != index || !untouched(c, j, index))
            continue;
        if (text == w->text)
            return index;
        before = text;
        if (!others_have(c, w, text)) {
            best = index;
            found = true;
        }
    }
    return best;
}

static void end_if_over(struct queue *q, struct lot *l)
{
    if (l->k < q->groups.size || l->over)
        return;
    l->over = true;
    q->left--;
    if (l->needs.model_key)
        q->open[l->needs.precision]--;
}

static void pass(struct queue *q, struct lot *l, uint64_t k)
{
    q->ahead -= k - l->k;
    l->k = k;
}

/* The same of chains, with a cursor that goes from one to the next: of each its first frame that is
 * not settled, if nobody is at it. A later frame is left to the look into the store. */
static int take_chain(struct coord *c, struct job_entry *j, uint64_t lot,
                      struct task_entry **ret_task, struct err *e)
{
    struct queue *q = &j->queue;
    struct lot *l = &q->lots[lot];
    int rc = 0;

    for (int looks = 0; looks < QUEUE_LOOKS_MAX && l->k < q->groups.size; looks++) {
        uint64_t first = groups_index(&q->groups, lot, l->k), next = job_next(j->job, first), open;
        struct task_entry *t;

        if (next < j->settled.floor)
            next = j->settled.floor / j->frames * j->frames;
        if (next > first) {
            pass(q, l, groups_seek(&q->groups, lot, next));
            continue;
        }
        open = bits_gap(&j->settled, first);
        pass(q, l, l->k + j->frames);
        if (open >= first + j->frames || coord_task(c, j, open))
            continue;
        TRY(coord_task_add(c, j, open, &t, e));
        *ret_task = t->later ? NULL : t;
        return 0;
    }
    end_if_over(q, l);
out:
    return rc;
}

int queue_take(struct coord *c, struct job_entry *j, const struct worker *w, uint64_t lot,
               struct task_entry **ret_task, struct err *e)
{
    struct queue *q = &j->queue;
    struct lot *l = &q->lots[lot];

    *ret_task = NULL;
    if (j->frames > 1)
        return take_chain(c, j, lot, ret_task, e);
    for (int looks = 0; looks < QUEUE_LOOKS_MAX && l->k < q->groups.size; looks++) {
        uint64_t index = groups_index(&q->groups, lot, l->k), next;

        if (index < j->settled.floor) { /* a restart with much done jumps here */
            l->k = groups_seek(&q->groups, lot, j->settled.floor);
            continue;
        }
        next = job_next(j->job, index);
        if (next > index) {
            l->k = groups_seek(&q->groups, lot, next);
            continue;
        }
        if (untouched(c, j, index)) {
            uint64_t best = q->groups.n_textual ? best_text(c, j, w, lot, l->k) : index;

            l->k += best == index;
            return coord_task_add(c, j, best, ret_task, e);
        }
        l->k++;
    }
    end_if_over(q, l);
    return 0;
}

bool queue_has_first(const struct job_entry *j)
{
    return j->queue.previewed < job_conduct(j->job)->first &&
           j->queue.preview_at < job_span(j->job);
}

int queue_take_first(struct coord *c, struct job_entry *j, const struct worker *w,
                     struct task_entry **ret_task, struct err *e)
{
    struct queue *q = &j->queue;
    uint64_t span = job_span(j->job);
    struct needs needs;
    int rc;

    *ret_task = NULL;
    while (queue_has_first(j)) {
        uint64_t index = q->preview_at = job_next(j->job, q->preview_at);

        if (index >= span)
            break;
        if ((rc = queue_needs(j, groups_of(&q->groups, index), &needs, e)) != 0)
            return rc;
        if (!abilities_render(&w->abilities, needs.precision))
            break;
        q->preview_at += j->frames;
        q->previewed++;
        if (untouched(c, j, index))
            return coord_task_add(c, j, index, ret_task, e);
    }
    return 0;
}
