#include "coordinator/drawing.h"

#include "proto/buf.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* One sheet to draw, then drawn. */
struct order {
    struct order *next;
    char *bundle, *folder; /* owned */
    size_t bundle_size;
    char *out_dir; /* owned */
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
    free(order);
}

static void append(struct order **list, struct order *order)
{
    while (*list)
        list = &(*list)->next;
    order->next = NULL;
    *list = order;
}

/* The thread's work: everything is its own. */
static void carry_out(struct order *order)
{
    struct drawn *r = &order->result;
    struct job *job = NULL;

    r->failure.code = job_load(order->bundle, order->bundle_size, &job, &r->failure);
    job_free(job);
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
        carry_out(order);
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

int drawing_start(struct drawing *d, const struct job_entry *j, const char *out_dir, struct err *e)
{
    struct order *order = calloc(1, sizeof *order);
    const char *bundle;

    if (!order)
        return err_set(e, ERR_OOM, "no memory for a sheet");
    bundle = job_bundle(j->job, &order->bundle_size);
    order->bundle = malloc(order->bundle_size);
    order->folder = strdup(j->folder);
    order->out_dir = strdup(out_dir);
    order->result.job = j->number;
    if (!order->bundle || !order->folder || !order->out_dir) {
        order_free(order);
        return err_set(e, ERR_OOM, "no memory for a sheet");
    }
    memcpy(order->bundle, bundle, order->bundle_size);
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
    struct order *order;
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
