#include "worker/runner.h"

#include "proto/msg.h"
#include "worker/assets.h"
#include "worker/places.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RUNNER_FOLDERS_MAX (LIBRARY_FOLDERS_MAX + 2) /* the view's, the library's, NULL */

struct runner {
    const struct library *library;
    const char *gang_address; /* may be NULL */
    struct view *view;        /* may be NULL */
    const char *lora_folders[RUNNER_FOLDERS_MAX], *embedding_folders[RUNNER_FOLDERS_MAX];
    struct resident *resident; /* the compute thread's */
    pthread_t thread;
    bool has_thread;
    int fd;             /* eventfd: something to take */
    atomic_bool cancel; /* of the running task; read by the engine */
    int cancel_fd;      /* eventfd, readable once it is cancelled; read by gangs */

    /* Both threads'; hold the mutex. */
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t work;                         /* signalled when `tasks` or `quit` changes */
        char *tasks[RUNNER_BATCH_MAX];               /* to do, or being done; owned */
        const struct given *given[RUNNER_BATCH_MAX]; /* their files; borrowed */
        size_t n;                                    /* of them; 0: nothing to do */
        struct runner_gang gang; /* of the task; guidance 0: alone. Meeting and offer are owned */
        bool busy;               /* from runner_start until the last outcome was taken */
        bool quit;
        bool has_progress;
        uint32_t step, steps;
        struct report outcomes[RUNNER_BATCH_MAX]; /* of the tasks */
        bool has_outcome[RUNNER_BATCH_MAX];
        size_t n_outcomes, taken; /* due in all; of them taken */
        bool done;                /* the thread is through with the tasks */
    } shared;
};

static void wake_taker(struct runner *r)
{
    const uint64_t one = 1;
    ssize_t n;

    do
        n = write(r->fd, &one, sizeof one);
    while (n < 0 && errno == EINTR); /* EAGAIN: it is readable already */
}

static void on_step(void *user, int step, int steps)
{
    struct runner *r = user;

    pthread_mutex_lock(&r->shared.mutex);
    r->shared.step = (uint32_t)step;
    r->shared.steps = (uint32_t)steps;
    r->shared.has_progress = true;
    pthread_mutex_unlock(&r->shared.mutex);
    wake_taker(r);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

/* The one file of a VAE of its own, among the model's files. */
static const char *vae_hash(const struct picture_model *model)
{
    for (size_t i = 0; i < model->n_files; i++) {
        const char *path = model->files[i].path;
        size_t size = strlen(path);

        if (strncmp(path, "vae:", 4) == 0 && size > 12 &&
            strcmp(path + size - 12, ".safetensors") == 0)
            return model->files[i].sha256;
    }
    return NULL;
}

/* A task of the batch on its way to its picture. */
struct member {
    size_t number;             /* in the batch */
    const struct given *given; /* its files; NULL: the library's */
    struct task task;
    struct places places;
    struct scene scene;
    struct image image;
};

/* The member's image, render i of the engine's last batch, as a file. */
static int finish(struct engine *g, size_t i, const struct member *m, struct picture *ret_picture,
                  struct err *e)
{
    const struct places *places = &m->places;
    const char *slash = strrchr(buf_text(&places->vae), '/');
    char hash[HASH_HEX_SIZE];
    struct picture_model model = {.path = buf_text(&places->model), .hash = hash};
    struct assets assets = {0};
    int rc;

    TRY(engine_files(g, &model.files, &model.n_files, e));
    TRY(engine_model_hash(g, hash, e));
    TRY(assets_gather(g, i, &m->scene, &assets, e));
    model.assets = assets.files;
    model.n_assets = assets.n;
    model.lora_hashes = buf_text(&assets.lora_hashes);
    model.ti_hashes = buf_text(&assets.ti_hashes);
    model.vae_name = slash ? slash + 1 : NULL;
    model.vae_hash = slash ? vae_hash(&model) : NULL;
    model.device_class = engine_device_class(g);
    model.precision = engine_precision(g);
    TRY(picture_make(&m->task, &model, &m->image, ret_picture, e));
    if (ret_picture->png.size > MSG_PNG_MAX) {
        rc = err_set(e, ERR_INPUT, "the picture's file has %zu bytes, over the limit of %u",
                     ret_picture->png.size, MSG_PNG_MAX);
        picture_done(ret_picture);
    }
out:
    assets_done(&assets);
    return rc;
}

static void put_outcome(struct runner *r, size_t number, const struct report *outcome)
{
    pthread_mutex_lock(&r->shared.mutex);
    r->shared.outcomes[number] = *outcome;
    r->shared.has_outcome[number] = true;
    pthread_mutex_unlock(&r->shared.mutex);
    wake_taker(r);
}

static void put_failure(struct runner *r, const struct member *m, const struct err *why)
{
    put_outcome(r, m->number, &(struct report){.kind = REPORT_FAILED, .error = *why});
}

/* A batch as the compute thread sees it. */
struct batch_run {
    struct runner *runner;
    struct engine *engine;
    const struct runner_gang *part;
    struct gang *gang;   /* NULL: none */
    double load_seconds; /* told with the first picture */
};

/* All of them in one go. */
static int render(struct batch_run *b, struct member *const *members, size_t n, struct err *e)
{
    const struct render *renders[RUNNER_BATCH_MAX];
    struct image images[RUNNER_BATCH_MAX] = {0};
    int rc;

    for (size_t i = 0; i < n; i++) {
        struct render *r = &members[i]->scene.render;

        r->progress = i == 0 ? on_step : NULL; /* they step together */
        r->user = b->runner;
        r->cancel = &b->runner->cancel;
        r->gang = b->gang;
        renders[i] = r;
    }
    rc = engine_render(b->engine, renders, n, images, e);
    for (size_t i = 0; i < n && rc == 0; i++)
        members[i]->image = images[i];
    return rc;
}

static void report_picture(struct batch_run *b, size_t i, struct member *m, double seconds)
{
    struct report outcome = {.kind = REPORT_FINISHED};

    if (b->gang && b->part->rank > 0) {
        outcome.kind = REPORT_HELPED;
    } else if (finish(b->engine, i, m, &outcome.picture, &outcome.error) != 0) {
        outcome.kind = REPORT_FAILED;
    } else {
        outcome.picture.load_seconds = b->load_seconds;
        outcome.picture.render_seconds = seconds;
        outcome.trials = engine_trials(b->engine);
    }
    b->load_seconds = 0;
    put_outcome(b->runner, m->number, &outcome);
}

/*
 * A batch that fails is tried in halves: it may have been too large, and one member's fault is not
 * the others'. The bytes of a picture do not depend on its batch.
 */
static void run_members(struct batch_run *b, struct member *const *members, size_t n)
{
    struct timespec start;
    struct err why;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &start);
    rc = render(b, members, n, &why);
    if (rc != 0 && rc != ERR_CANCELLED && n > 1) {
        run_members(b, members, n / 2);
        run_members(b, members + n / 2, n - n / 2);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (rc != 0)
            put_failure(b->runner, members[i], &why);
        else
            report_picture(b, i, members[i], seconds_since(&start) / (double)n);
        image_done(&members[i]->image);
    }
}

/* The others are met before the model is loaded: so each notices at once if one is lost meanwhile.
 */
static int meet(const struct runner *r, const struct runner_gang *part, struct gang **ret_gang,
                struct err *e)
{
    const struct gang_place place = {.rank = part->rank,
                                     .size = part->guidance * part->tensor,
                                     .offer = part->offer,
                                     .meeting = part->meeting,
                                     .address = r->gang_address,
                                     .abort_fd = r->cancel_fd};

    if (part->rank == 0 && !part->offer)
        return err_set(e, ERR_LOST, "the gang's meeting place was given up");
    return gang_join(&place, ret_gang, e);
}

/* Everything but the model. */
static int open_member(const struct runner *r, const char *text, struct member *m, struct err *e)
{
    struct task here; /* with its pictures under the paths that they have here */
    int rc;

    TRY(task_from_json(text, strlen(text), &m->task, e));
    TRY(places_find(r->library, &m->task, m->given, &m->places, e));
    here = m->task;
    if (m->given && m->given->init)
        here.init_image = m->given->init;
    if (m->given && m->given->mask)
        here.mask = m->given->mask;
    TRY(scene_open(&here, &m->scene, e));
out:
    return rc;
}

static void member_done(struct member *m)
{
    scene_done(&m->scene);
    task_done(&m->task);
    places_done(&m->places);
}

/* The same files, so that one engine and one view serve both. */
static bool same_files(const struct given *a, const struct given *b)
{
    if (!a || !b)
        return a == b;
    if (!a->identity != !b->identity || (a->identity && strcmp(a->identity, b->identity) != 0) ||
        a->n_names != b->n_names)
        return false;
    for (size_t i = 0; i < a->n_names; i++) {
        const struct given_name *x = &a->names[i], *y = &b->names[i];

        if (x->embedding != y->embedding || strcmp(x->name, y->name) != 0 || !x->path != !y->path ||
            (x->path && strcmp(x->path, y->path) != 0))
            return false;
    }
    return true;
}

/* Moves those with the files of the first to the front. How many they are. */
static size_t gather_same(struct member **members, size_t n)
{
    size_t same = 1;

    for (size_t i = 1; i < n; i++) {
        struct member *m = members[i];

        if (!same_files(members[0]->given, m->given))
            continue;
        members[i] = members[same];
        members[same++] = m;
    }
    return same;
}

/* The model of the first is that of all: kind.h. */
static int open_engine(struct batch_run *b, struct member *first, struct err *e)
{
    const struct runner_gang *part = b->part;
    struct runner *r = b->runner;
    int rc = 0;

    if (r->view)
        TRY(view_names(r->view, first->given, e));
    if (part->guidance) {
        TRY(meet(r, part, &b->gang, e));
        first->places.wanted.shards = part->tensor;
        first->places.wanted.shard = part->rank % part->tensor;
    }
    TRY(resident_get(r->resident, &first->places.wanted, &b->engine, &b->load_seconds, e));
    on_step(r, 0, first->task.steps);
out:
    return rc;
}

/* Members with the same files. */
static void run_same(struct runner *r, struct member **members, size_t n,
                     const struct runner_gang *part)
{
    struct batch_run b = {.runner = r, .part = part};
    struct err why;

    if (open_engine(&b, members[0], &why) == 0)
        run_members(&b, members, n);
    else
        while (n > 0)
            put_failure(r, members[--n], &why);
    if (b.gang)
        b.gang->free(b.gang);
}

static void run_tasks(struct runner *r, char *const *tasks, size_t n,
                      const struct runner_gang *part)
{
    struct member *all = calloc(n, sizeof *all), *ready[RUNNER_BATCH_MAX];
    size_t n_ready = 0;
    struct err why;

    for (size_t i = 0; i < n; i++) {
        struct member nobody = {.number = i}, *m = all ? &all[i] : &nobody;

        m->number = i;
        m->given = r->shared.given[i];
        if (!all)
            err_set(&why, ERR_OOM, "out of memory for a batch of %zu", n);
        if (all && open_member(r, tasks[i], m, &why) == 0)
            ready[n_ready++] = m;
        else
            put_failure(r, m, &why);
    }
    for (size_t at = 0, same; at < n_ready; at += same) {
        same = gather_same(ready + at, n_ready - at);
        run_same(r, ready + at, same, part);
    }
    for (size_t i = 0; all && i < n; i++)
        member_done(&all[i]);
    free(all);
}

/* Waits for tasks. 0: quit. They stay until tasks_done(). */
static size_t next_tasks(struct runner *r, struct runner_gang *ret_gang)
{
    size_t n;

    pthread_mutex_lock(&r->shared.mutex);
    while (!r->shared.quit && !r->shared.n)
        pthread_cond_wait(&r->shared.work, &r->shared.mutex);
    n = r->shared.quit ? 0 : r->shared.n;
    *ret_gang = r->shared.gang;
    pthread_mutex_unlock(&r->shared.mutex);
    return n;
}

static void gang_done(struct runner_gang *g)
{
    gang_offer_free(g->offer);
    free((char *)(uintptr_t)g->meeting);
    *g = (struct runner_gang){0};
}

/* Hold the mutex, or be the only thread. */
static void tasks_done(struct runner *r)
{
    for (size_t i = 0; i < RUNNER_BATCH_MAX; i++) {
        free(r->shared.tasks[i]);
        r->shared.tasks[i] = NULL;
    }
    r->shared.n = 0;
    gang_done(&r->shared.gang);
}

static void *compute(void *user)
{
    struct runner *r = user;
    struct runner_gang gang;
    size_t n;

    while ((n = next_tasks(r, &gang)) > 0) {
        run_tasks(r, r->shared.tasks, n, &gang);
        pthread_mutex_lock(&r->shared.mutex);
        tasks_done(r);
        r->shared.done = true;
        pthread_mutex_unlock(&r->shared.mutex);
        wake_taker(r);
    }
    return NULL;
}

/* The view's folder first, then the library's. */
static void folders(const char *first, const char *const *rest, const char **ret_folders)
{
    size_t n = 0;

    if (first)
        ret_folders[n++] = first;
    for (; *rest && n < RUNNER_FOLDERS_MAX - 1; rest++)
        ret_folders[n++] = *rest;
    ret_folders[n] = NULL;
}

int runner_open(const struct runner_options *o, struct runner **ret_runner, struct err *e)
{
    struct resident_options models = {.backend = o->backend,
                                      .device = o->device,
                                      .threads = o->threads,
                                      .memory_bytes = o->memory_bytes,
                                      .hashes = o->hashes};
    struct runner *r = calloc(1, sizeof *r);
    int rc = 0;

    if (!r)
        return err_set(e, ERR_OOM, "out of memory for the compute thread");
    r->library = o->library;
    r->gang_address = o->gang_address;
    r->view = o->view;
    folders(o->view ? view_loras(o->view) : NULL, library_lora_folders(o->library),
            r->lora_folders);
    folders(o->view ? view_embeddings(o->view) : NULL, library_embedding_folders(o->library),
            r->embedding_folders);
    models.lora_folders = r->lora_folders;
    models.embedding_folders = r->embedding_folders;
    pthread_mutex_init(&r->shared.mutex, NULL);
    pthread_cond_init(&r->shared.work, NULL);
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->fd < 0 || r->cancel_fd < 0)
        TRY(err_errno(e, "eventfd"));
    TRY(resident_new(&models, &r->resident, e));
    errno = pthread_create(&r->thread, NULL, compute, r);
    if (errno != 0)
        TRY(err_errno(e, "compute thread"));
    r->has_thread = true;
    *ret_runner = r;
    r = NULL;
out:
    runner_close(r);
    return rc;
}

void runner_close(struct runner *r)
{
    if (!r)
        return;
    runner_cancel(r);
    pthread_mutex_lock(&r->shared.mutex);
    r->shared.quit = true;
    pthread_cond_signal(&r->shared.work);
    pthread_mutex_unlock(&r->shared.mutex);
    if (r->has_thread)
        pthread_join(r->thread, NULL);
    resident_free(r->resident);
    for (size_t i = r->shared.taken; i < RUNNER_BATCH_MAX; i++)
        picture_done(&r->shared.outcomes[i].picture);
    tasks_done(r);
    if (r->fd >= 0)
        close(r->fd);
    if (r->cancel_fd >= 0)
        close(r->cancel_fd);
    pthread_cond_destroy(&r->shared.work);
    pthread_mutex_destroy(&r->shared.mutex);
    free(r);
}

/* Copies of the tasks, and what the part borrows. */
static int copy_tasks(const char *const *tasks, size_t n, char **copies, struct runner_gang *part,
                      struct err *e)
{
    bool whole = true;

    for (size_t i = 0; i < n; i++)
        whole &= (copies[i] = strdup(tasks[i])) != NULL;
    if (part->meeting)
        whole &= (part->meeting = strdup(part->meeting)) != NULL;
    return whole ? 0 : err_set(e, ERR_OOM, "out of memory for a task");
}

int runner_start(struct runner *r, const char *const *tasks, const struct given *const *given,
                 size_t n, const struct runner_gang *gang, struct err *e)
{
    struct runner_gang part = gang ? *gang : (struct runner_gang){0};
    char *copies[RUNNER_BATCH_MAX] = {0};
    uint64_t seen;
    int rc = copy_tasks(tasks, n, copies, &part, e);

    pthread_mutex_lock(&r->shared.mutex);
    if (rc == 0 && r->shared.busy) {
        rc = err_set(e, ERR_CONFLICT, "a task runs already");
    } else if (rc == 0) {
        atomic_store(&r->cancel, false);
        (void)!read(r->cancel_fd, &seen, sizeof seen);
        r->shared.busy = true;
        r->shared.done = false;
        memcpy(r->shared.tasks, copies, sizeof copies);
        memset(copies, 0, sizeof copies);
        for (size_t i = 0; i < n; i++)
            r->shared.given[i] = given ? given[i] : NULL;
        memset(r->shared.has_outcome, 0, sizeof r->shared.has_outcome);
        r->shared.n = r->shared.n_outcomes = n;
        r->shared.taken = 0;
        r->shared.gang = part;
        part = (struct runner_gang){0};
        pthread_cond_signal(&r->shared.work);
    }
    pthread_mutex_unlock(&r->shared.mutex);
    for (size_t i = 0; i < n; i++)
        free(copies[i]);
    gang_done(&part);
    return rc;
}

void runner_cancel(struct runner *r)
{
    const uint64_t one = 1;

    atomic_store(&r->cancel, true);
    (void)!write(r->cancel_fd, &one, sizeof one);
}

int runner_fd(const struct runner *r)
{
    return r->fd;
}

/* Hold the mutex. The last outcome goes with the thread's readiness for the next batch. */
static bool may_take(const struct runner *r)
{
    size_t next = r->shared.taken;

    return r->shared.busy && next < r->shared.n_outcomes && r->shared.has_outcome[next] &&
           (next + 1 < r->shared.n_outcomes || r->shared.done);
}

bool runner_take(struct runner *r, struct report *ret_report)
{
    uint64_t seen;
    bool got = true;

    (void)!read(r->fd, &seen, sizeof seen); /* before looking: what comes later wakes again */
    pthread_mutex_lock(&r->shared.mutex);
    if (r->shared.has_progress) {
        *ret_report = (struct report){
            .kind = REPORT_PROGRESS, .step = r->shared.step, .steps = r->shared.steps};
        r->shared.has_progress = false;
    } else if (may_take(r)) {
        *ret_report = r->shared.outcomes[r->shared.taken];
        r->shared.outcomes[r->shared.taken++] = (struct report){0};
        ret_report->more = r->shared.taken < r->shared.n_outcomes;
        r->shared.busy = ret_report->more;
    } else {
        got = false;
    }
    pthread_mutex_unlock(&r->shared.mutex);
    return got;
}
