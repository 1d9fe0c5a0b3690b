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

#define RUNNER_FOLDERS_MAX                                                                         \
    130 /* of LoRAs: two of each directory of the library, and the view's                          \
         */

struct runner {
    const struct library *library;
    struct view *view; /* may be NULL */
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
        pthread_cond_t work;       /* signalled when `task` or `quit` changes */
        char *task;                /* to do, or being done; owned */
        const struct given *given; /* its files; borrowed */
        struct runner_gang gang;   /* of the task; guidance 0: alone. Meeting and offer are owned */
        bool busy;                 /* from runner_start until the outcome was taken */
        bool quit;
        bool has_progress, has_outcome;
        uint32_t step, steps;
        struct report outcome;
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

static int finish(struct engine *g, const struct task *t, const struct places *places,
                  const struct scene *scene, const struct image *image, struct picture *ret_picture,
                  struct err *e)
{
    const char *slash = strrchr(buf_text(&places->vae), '/');
    char hash[HASH_HEX_SIZE];
    struct picture_model model = {.path = buf_text(&places->model), .hash = hash};
    struct assets assets = {0};
    int rc;

    TRY(engine_files(g, &model.files, &model.n_files, e));
    TRY(engine_model_hash(g, hash, e));
    TRY(assets_gather(g, scene, &assets, e));
    model.assets = assets.files;
    model.n_assets = assets.n;
    model.lora_hashes = buf_text(&assets.lora_hashes);
    model.ti_hashes = buf_text(&assets.ti_hashes);
    model.vae_name = slash ? slash + 1 : NULL;
    model.vae_hash = slash ? vae_hash(&model) : NULL;
    model.device_class = engine_device_class(g);
    model.precision = engine_precision(g);
    TRY(picture_make(t, &model, image, ret_picture, e));
    if (ret_picture->png.size > MSG_PNG_MAX) {
        rc = err_set(e, ERR_INPUT, "the picture's file has %zu bytes, over the limit of %u",
                     ret_picture->png.size, MSG_PNG_MAX);
        picture_done(ret_picture);
    }
out:
    assets_done(&assets);
    return rc;
}

/* A task's pixels, in full. gang: NULL: alone. ret_picture stays empty where another member of the
 * gang has it. */
static int render(struct runner *r, struct engine *g, struct gang *gang, const struct task *t,
                  const struct given *given, const struct places *places,
                  struct picture *ret_picture, struct err *e)
{
    struct task here = *t; /* its pictures under the paths that they have here */
    struct scene scene = {0};
    struct image image = {0};
    int rc;

    on_step(r, 0, t->steps);
    if (given && given->init)
        here.init_image = given->init;
    if (given && given->mask)
        here.mask = given->mask;
    TRY(scene_open(&here, &scene, e));
    scene.render.progress = on_step;
    scene.render.user = r;
    scene.render.cancel = &r->cancel;
    scene.render.gang = gang;
    TRY(engine_render(g, (const struct render *[]){&scene.render}, 1, &image, e));
    if (image.pixels)
        TRY(finish(g, t, places, &scene, &image, ret_picture, e));
out:
    image_done(&image);
    scene_done(&scene);
    return rc;
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
                                     .abort_fd = r->cancel_fd};

    if (part->rank == 0 && !part->offer)
        return err_set(e, ERR_LOST, "the gang's meeting place was given up");
    return gang_join(&place, ret_gang, e);
}

static int run_task(struct runner *r, const char *text, const struct given *given,
                    const struct runner_gang *part, struct picture *ret_picture, struct err *e)
{
    struct places places = {0};
    struct timespec start;
    struct engine *g;
    struct task t = {0};
    struct gang *gang = NULL;
    double load_seconds;
    int rc;

    TRY(task_from_json(text, strlen(text), &t, e));
    TRY(places_find(r->library, &t, given, &places, e));
    if (r->view)
        TRY(view_names(r->view, given, e));
    if (part->guidance) {
        TRY(meet(r, part, &gang, e));
        places.wanted.shards = part->tensor;
        places.wanted.shard = part->rank % part->tensor;
    }
    TRY(resident_get(r->resident, &places.wanted, &g, &load_seconds, e));
    clock_gettime(CLOCK_MONOTONIC, &start);
    TRY(render(r, g, gang, &t, given, &places, ret_picture, e));
    ret_picture->load_seconds = load_seconds;
    ret_picture->render_seconds = seconds_since(&start);
out:
    if (gang)
        gang->free(gang);
    task_done(&t);
    places_done(&places);
    return rc;
}

/* Waits for a task. NULL: quit. Borrowed until its outcome is put. */
static const char *next_task(struct runner *r, const struct given **ret_given,
                             struct runner_gang *ret_gang)
{
    const char *task;

    pthread_mutex_lock(&r->shared.mutex);
    while (!r->shared.quit && !r->shared.task)
        pthread_cond_wait(&r->shared.work, &r->shared.mutex);
    task = r->shared.quit ? NULL : r->shared.task;
    *ret_given = r->shared.given;
    *ret_gang = r->shared.gang;
    pthread_mutex_unlock(&r->shared.mutex);
    return task;
}

static void gang_done(struct runner_gang *g)
{
    gang_offer_free(g->offer);
    free((char *)(uintptr_t)g->meeting);
    *g = (struct runner_gang){0};
}

static void put_outcome(struct runner *r, const struct report *outcome)
{
    pthread_mutex_lock(&r->shared.mutex);
    free(r->shared.task);
    r->shared.task = NULL;
    gang_done(&r->shared.gang);
    r->shared.outcome = *outcome;
    r->shared.has_outcome = true;
    pthread_mutex_unlock(&r->shared.mutex);
    wake_taker(r);
}

static void *compute(void *user)
{
    struct runner *r = user;
    const struct given *given;
    struct runner_gang gang;
    const char *task;

    while ((task = next_task(r, &given, &gang))) {
        struct report outcome = {.kind = REPORT_FINISHED};

        if (run_task(r, task, given, &gang, &outcome.picture, &outcome.error) != 0)
            outcome.kind = REPORT_FAILED;
        else if (gang.guidance && gang.rank > 0)
            outcome.kind = REPORT_HELPED;
        put_outcome(r, &outcome);
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
                                      .memory_bytes = o->memory_bytes};
    struct runner *r = calloc(1, sizeof *r);
    int rc = 0;

    if (!r)
        return err_set(e, ERR_OOM, "out of memory for the compute thread");
    r->library = o->library;
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
    picture_done(&r->shared.outcome.picture);
    free(r->shared.task);
    gang_done(&r->shared.gang);
    if (r->fd >= 0)
        close(r->fd);
    if (r->cancel_fd >= 0)
        close(r->cancel_fd);
    pthread_cond_destroy(&r->shared.work);
    pthread_mutex_destroy(&r->shared.mutex);
    free(r);
}

int runner_start(struct runner *r, const char *task, const struct given *given,
                 const struct runner_gang *gang, struct err *e)
{
    struct runner_gang part = gang ? *gang : (struct runner_gang){0};
    char *copy = strdup(task);
    uint64_t seen;
    int rc = 0;

    part.meeting = gang ? strdup(gang->meeting) : NULL;
    if (!copy || (gang && !part.meeting)) {
        free(copy);
        gang_done(&part);
        return err_set(e, ERR_OOM, "out of memory for a task");
    }
    pthread_mutex_lock(&r->shared.mutex);
    if (r->shared.busy) {
        rc = err_set(e, ERR_CONFLICT, "a task runs already");
    } else {
        atomic_store(&r->cancel, false);
        (void)!read(r->cancel_fd, &seen, sizeof seen);
        r->shared.busy = true;
        r->shared.task = copy;
        r->shared.given = given;
        r->shared.gang = part;
        copy = NULL;
        part = (struct runner_gang){0};
        pthread_cond_signal(&r->shared.work);
    }
    pthread_mutex_unlock(&r->shared.mutex);
    free(copy);
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
    } else if (r->shared.has_outcome) {
        *ret_report = r->shared.outcome;
        r->shared.outcome = (struct report){0};
        r->shared.has_outcome = false;
        r->shared.busy = false;
    } else {
        got = false;
    }
    pthread_mutex_unlock(&r->shared.mutex);
    return got;
}
