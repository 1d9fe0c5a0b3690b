#include "coordinator/drawing.h"

#include "coordinator/output.h"
#include "coordinator/sheet.h"
#include "proto/png.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* One sheet to draw, then drawn. */
struct order {
    struct order *next;
    char *bundle, *folder; /* owned */
    size_t bundle_size;
    char *out_dir;    /* owned */
    uint64_t *failed; /* ascending; owned */
    size_t n_failed;
    struct drawn result;
};

struct drawing {
    int fd;
    pthread_t thread;
    bool started;
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t wake;
        struct order *todo, *done;
        bool stop;
    } shared;
};

static void order_free(struct order *order)
{
    if (!order)
        return;
    free(order->bundle);
    free(order->folder);
    free(order->out_dir);
    free(order->failed);
    free(order);
}

static void append(struct order **list, struct order *order)
{
    while (*list)
        list = &(*list)->next;
    order->next = NULL;
    *list = order;
}

static enum sheet_state state_of(void *user, uint64_t index)
{
    const struct order *order = user;
    size_t low = 0, high = order->n_failed;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (order->failed[middle] == index)
            return SHEET_FAILED;
        if (order->failed[middle] < index)
            low = middle + 1;
        else
            high = middle;
    }
    return SHEET_DONE;
}

/* Every picture of a task has a `litho` chunk, no sheet has. */
static int check_place(struct output *o, const char *path, struct err *e)
{
    struct buf there = {0}, chunk = {0};
    int rc = output_read(o, path, MSG_PNG_MAX, &there, e);

    if (rc == ERR_MISSING)
        rc = 0;
    else if (rc == 0 && png_text_get(there.data, there.size, "litho", &chunk, NULL) == 0)
        rc = err_set(e, ERR_CONFLICT, "'%s' is a picture of the job", path);
    buf_done(&there);
    buf_done(&chunk);
    return rc;
}

/* The thread's work: everything is its own. */
static int carry_out(struct order *order, struct err *e)
{
    struct output *output = NULL;
    struct job *job = NULL;
    struct buf png = {0}, path = {0};
    int rc;

    TRY(job_load(order->bundle, order->bundle_size, &job, e));
    TRY(job_set_folder(job, order->folder, e));
    TRY(output_open(order->out_dir, &output, e));
    buf_printf(&path, "%s/sheet.png", order->folder);
    TRY(buf_check(&path, e));
    TRY(check_place(output, buf_text(&path), e));
    TRY(sheet_draw(job, order->out_dir, state_of, order, &png, e));
    TRY(output_replace(output, buf_text(&path), &png, e));
    snprintf(order->result.path, sizeof order->result.path, "%s/%s", order->out_dir,
             buf_text(&path));
out:
    output_close(output);
    job_free(job);
    buf_done(&png);
    buf_done(&path);
    return rc;
}

static void *draw_all(void *user)
{
    struct drawing *d = user;

    pthread_mutex_lock(&d->shared.mutex);
    while (!d->shared.stop) {
        struct order *order = d->shared.todo;
        uint64_t one = 1;

        if (!order) {
            pthread_cond_wait(&d->shared.wake, &d->shared.mutex);
            continue;
        }
        d->shared.todo = order->next;
        pthread_mutex_unlock(&d->shared.mutex);
        if (carry_out(order, &order->result.failure) == 0)
            order->result.failure.code = 0;
        pthread_mutex_lock(&d->shared.mutex);
        append(&d->shared.done, order);
        if (write(d->fd, &one, sizeof one) < 0)
            continue; /* the counter is full: it is readable already */
    }
    pthread_mutex_unlock(&d->shared.mutex);
    return NULL;
}

int drawing_open(struct drawing **ret_drawing, struct err *e)
{
    struct drawing *d = calloc(1, sizeof *d);

    if (!d)
        return err_set(e, ERR_OOM, "no memory for drawing sheets");
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->fd < 0 || pthread_mutex_init(&d->shared.mutex, NULL) != 0 ||
        pthread_cond_init(&d->shared.wake, NULL) != 0 ||
        pthread_create(&d->thread, NULL, draw_all, d) != 0) {
        drawing_close(d);
        return err_set(e, ERR_IO, "cannot start the thread that draws sheets");
    }
    d->started = true;
    *ret_drawing = d;
    return 0;
}

static void list_free(struct order *order)
{
    while (order) {
        struct order *next = order->next;

        order_free(order);
        order = next;
    }
}

void drawing_close(struct drawing *d)
{
    if (!d)
        return;
    if (d->started) {
        pthread_mutex_lock(&d->shared.mutex);
        d->shared.stop = true;
        pthread_cond_signal(&d->shared.wake);
        pthread_mutex_unlock(&d->shared.mutex);
        pthread_join(d->thread, NULL);
    }
    list_free(d->shared.todo);
    list_free(d->shared.done);
    if (d->fd >= 0)
        close(d->fd);
    free(d);
}

static int order_new(const struct job_entry *j, const char *out_dir, size_t n_failed,
                     struct order **ret_order, struct err *e)
{
    struct order *order = calloc(1, sizeof *order);
    const char *bundle;

    if (!order)
        return err_set(e, ERR_OOM, "no memory for a sheet");
    bundle = job_bundle(j->job, &order->bundle_size);
    order->bundle = malloc(order->bundle_size);
    order->folder = strdup(j->folder);
    order->out_dir = strdup(out_dir);
    order->failed = calloc(n_failed ? n_failed : 1, sizeof *order->failed);
    order->result.job = j->number;
    if (!order->bundle || !order->folder || !order->out_dir || !order->failed) {
        order_free(order);
        return err_set(e, ERR_OOM, "no memory for a sheet");
    }
    memcpy(order->bundle, bundle, order->bundle_size);
    *ret_order = order;
    return 0;
}

int drawing_start(struct drawing *d, const struct job_entry *j, const char *out_dir,
                  const uint64_t *failed, size_t n_failed, struct err *e)
{
    struct order *order = NULL;
    int rc = order_new(j, out_dir, n_failed, &order, e);

    if (rc != 0)
        return rc;
    for (; order->n_failed < n_failed; order->n_failed++)
        order->failed[order->n_failed] = failed[order->n_failed];
    pthread_mutex_lock(&d->shared.mutex);
    append(&d->shared.todo, order);
    pthread_cond_signal(&d->shared.wake);
    pthread_mutex_unlock(&d->shared.mutex);
    return 0;
}

int drawing_fd(const struct drawing *d)
{
    return d->fd;
}

bool drawing_next(struct drawing *d, struct drawn *ret_drawn)
{
    struct order *order = NULL;
    uint64_t count;

    pthread_mutex_lock(&d->shared.mutex);
    order = d->shared.done;
    if (order)
        d->shared.done = order->next;
    else if (read(d->fd, &count, sizeof count) < 0)
        count = 0; /* nothing was waiting */
    pthread_mutex_unlock(&d->shared.mutex);
    if (!order)
        return false;
    *ret_drawn = order->result;
    order_free(order);
    return true;
}
