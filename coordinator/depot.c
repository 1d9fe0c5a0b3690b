#include "coordinator/depot.h"

#include "coordinator/files.h"
#include "coordinator/inquiry.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WANTS_MAX      1024        /* parts of files that wait to be read */
#define WANTS_PEER_MAX 16          /* of one worker; one that is passed over is wanted again */
#define READY_BYTES    (64u << 20) /* frames that wait to be sent; no more are read meanwhile */

/* What the loop asks for. */
struct request {
    struct request *next;
    enum asset_role role; /* of an inquiry */
    char *name;           /* owned; NULL: a part of a file */
    struct peer peer;
    struct msg_want want;
};

struct ready {
    struct ready *next;
    struct depot_result result;
};

struct depot {
    int fd;
    pthread_t thread;
    bool started;
    struct inquiries inquiries; /* the thread's */
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t wake;
        struct request *todo, **todo_end;
        size_t n_wants; /* in todo */
        struct ready *done, **done_end;
        size_t done_bytes;
        struct depot_progress progress;
        bool stop;
    } shared;
};

static void request_free(struct request *r)
{
    free(r->name);
    free(r);
}

static void put(struct depot *d, struct ready *ready)
{
    uint64_t one = 1;

    pthread_mutex_lock(&d->shared.mutex);
    *d->shared.done_end = ready;
    d->shared.done_end = &ready->next;
    d->shared.done_bytes += ready->result.frame.size;
    pthread_mutex_unlock(&d->shared.mutex);
    if (write(d->fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is readable already */
}

/* Of an inquiry that is over: the answer's contents are taken over. */
static void answer(void *user, struct asset_answer *a)
{
    struct ready *ready = calloc(1, sizeof *ready);

    if (!ready) { /* asked again when the answer does not come */
        asset_answer_done(a);
        return;
    }
    ready->result.answer = *a;
    *a = (struct asset_answer){0};
    put(user, ready);
}

/* The part of an open file, fewer bytes at its end. */
static int read_part(int fd, const char *path, const struct msg_want *w, void *data,
                     size_t *ret_size, struct err *e)
{
    size_t size = 0;

    while (size < w->bytes) {
        ssize_t n = pread(fd, (char *)data + size, w->bytes - size, (off_t)(w->offset + size));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, path);
        if (n == 0)
            break;
        size += (size_t)n;
    }
    *ret_size = size;
    return 0;
}

/* The file is opened, and must be the one that was hashed. */
static int part_of_file(struct files *files, const struct msg_want *w, void *data,
                        struct msg_chunk *chunk, struct err *e)
{
    struct buf path = {0};
    struct file_stamp stamp;
    struct stat st;
    char hex[HASH_HEX_SIZE];
    int fd = -1, rc;

    TRY(files_find(files, w->sha256, &path, &chunk->total, e));
    fd = open(buf_text(&path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        TRY(err_errno(e, buf_text(&path)));
    stamp = file_stamp_of(&st);
    TRY(files_get(files, buf_text(&path), &stamp, hex, e));
    if (strcmp(hex, w->sha256) != 0)
        TRY(err_set(e, ERR_MISSING, "'%s' changed: it was %.12s...", buf_text(&path), w->sha256));
    TRY(read_part(fd, buf_text(&path), w, data, &chunk->data_size, e));
out:
    if (fd >= 0)
        close(fd);
    buf_done(&path);
    return rc;
}

static int part_of_listing(struct files *files, const struct msg_want *w, struct buf *text,
                           struct msg_chunk *chunk, struct err *e)
{
    int rc = files_get_listing(files, w->sha256, NULL, text, e);

    if (rc != 0)
        return rc;
    chunk->total = text->size;
    if (w->offset < text->size) {
        chunk->data = text->data + w->offset;
        chunk->data_size = text->size - w->offset < w->bytes ? text->size - w->offset : w->bytes;
    }
    return 0;
}

static int chunk_frame(struct files *files, const struct msg_want *w, struct depot_result *result,
                       struct err *e)
{
    struct msg m = {.type = MSG_CHUNK, .chunk = {.offset = w->offset}};
    struct buf text = {0};
    void *data = NULL;
    int rc;

    memcpy(m.chunk.sha256, w->sha256, HASH_HEX_SIZE);
    rc = part_of_listing(files, w, &text, &m.chunk, e);
    if (rc == ERR_MISSING) {
        if (!(data = malloc(w->bytes)))
            TRY(err_set(e, ERR_OOM, "no memory for a part of a file"));
        m.chunk.data = data;
        TRY(part_of_file(files, w, data, &m.chunk, e));
    }
    TRY(rc);
    if (m.chunk.data_size == 0)
        TRY(err_set(e, ERR_INPUT, "nothing at byte %llu of %s", (unsigned long long)w->offset,
                    w->sha256));
    TRY(msg_encode(&m, &result->frame, e));
    result->chunk_bytes = m.chunk.data_size;
out:
    free(data);
    buf_done(&text);
    return rc;
}

static void send_part(struct depot *d, const struct request *r)
{
    struct ready *ready = calloc(1, sizeof *ready);
    struct err why = {0};
    struct msg m = {.type = MSG_GONE};

    if (!ready)
        return; /* wanted again */
    ready->result.is_frame = true;
    ready->result.peer = r->peer;
    if (chunk_frame(d->inquiries.files, &r->want, &ready->result, &why) != 0) {
        memcpy(m.gone.sha256, r->want.sha256, HASH_HEX_SIZE);
        m.gone.code = err_name(why.code);
        m.gone.text = why.text;
        ready->result.frame.size = 0;
        if (msg_encode(&m, &ready->result.frame, NULL) != 0) {
            buf_done(&ready->result.frame);
            free(ready);
            return;
        }
    }
    put(d, ready);
}

/* The next request; NULL with nothing to do but hashing, or at the end. */
static struct request *next_request(struct depot *d, bool *ret_stop)
{
    struct request *r = NULL;

    pthread_mutex_lock(&d->shared.mutex);
    d->shared.progress.done = inquiries_progress(&d->inquiries, &d->shared.progress.total);
    d->shared.progress.hashed_bytes = d->inquiries.hashed_bytes;
    d->shared.progress.hashed_files = d->inquiries.hashed_files;
    for (;;) {
        bool full = d->shared.done_bytes > READY_BYTES;

        if (d->shared.stop)
            break;
        if (d->shared.todo && !full) {
            r = d->shared.todo;
            d->shared.n_wants -= r->name == NULL;
            d->shared.todo = r->next;
            if (!r->next)
                d->shared.todo_end = &d->shared.todo;
            break;
        }
        if (inquiries_busy(&d->inquiries))
            break;
        pthread_cond_wait(&d->shared.wake, &d->shared.mutex);
    }
    *ret_stop = d->shared.stop;
    pthread_mutex_unlock(&d->shared.mutex);
    return r;
}

static void *serve(void *user)
{
    struct depot *d = user;
    struct request *r;
    bool stop;

    for (;;) {
        r = next_request(d, &stop);
        if (stop)
            break;
        if (!r)
            inquiries_step(&d->inquiries);
        else if (r->name)
            inquiries_add(&d->inquiries, r->role, r->name);
        else
            send_part(d, r);
        if (r)
            request_free(r);
    }
    return NULL;
}

int depot_open(const char *state_dir, const struct library *library, struct depot **ret_depot,
               struct err *e)
{
    struct depot *d = calloc(1, sizeof *d);
    struct buf hashes = {0};
    int rc = 0;

    if (!d)
        return err_set(e, ERR_OOM, "no memory for the files' thread");
    d->shared.todo_end = &d->shared.todo;
    d->shared.done_end = &d->shared.done;
    d->inquiries = (struct inquiries){.library = library, .answer = answer, .user = d};
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->fd < 0 || pthread_mutex_init(&d->shared.mutex, NULL) != 0 ||
        pthread_cond_init(&d->shared.wake, NULL) != 0)
        TRY(err_set(e, ERR_IO, "cannot start the thread that reads files"));
    TRY(files_open(state_dir, &d->inquiries.files, e));
    buf_printf(&hashes, "%s/hashes", state_dir);
    TRY(buf_check(&hashes, e));
    TRY(hash_memo_new(buf_text(&hashes), &d->inquiries.hashes, e));
    if (pthread_create(&d->thread, NULL, serve, d) != 0)
        TRY(err_set(e, ERR_IO, "cannot start the thread that reads files"));
    d->started = true;
    *ret_depot = d;
    d = NULL;
out:
    buf_done(&hashes);
    depot_close(d);
    return rc;
}

void depot_close(struct depot *d)
{
    struct depot_result result;

    if (!d)
        return;
    if (d->started) {
        pthread_mutex_lock(&d->shared.mutex);
        d->shared.stop = true;
        pthread_cond_signal(&d->shared.wake);
        pthread_mutex_unlock(&d->shared.mutex);
        pthread_join(d->thread, NULL);
    }
    while (d->shared.todo) {
        struct request *next = d->shared.todo->next;

        request_free(d->shared.todo);
        d->shared.todo = next;
    }
    while (depot_next(d, &result)) {
        asset_answer_done(&result.answer);
        buf_done(&result.frame);
    }
    inquiries_done(&d->inquiries);
    files_close(d->inquiries.files);
    hash_memo_free(d->inquiries.hashes);
    if (d->fd >= 0)
        close(d->fd);
    free(d);
}

/* With the mutex. */
static bool wants_too_much(const struct depot *d, const struct peer *peer)
{
    size_t n = 0;

    for (const struct request *r = d->shared.todo; r; r = r->next)
        n +=
            !r->name && r->peer.size == peer->size && memcmp(r->peer.id, peer->id, peer->size) == 0;
    return n >= WANTS_PEER_MAX || d->shared.n_wants >= WANTS_MAX;
}

static int add(struct depot *d, const struct request *filled, struct err *e)
{
    struct request *r = malloc(sizeof *r);

    if (!r)
        return err_set(e, ERR_OOM, "no memory for a look at a file");
    *r = *filled;
    pthread_mutex_lock(&d->shared.mutex);
    if (!r->name && wants_too_much(d, &r->peer)) {
        pthread_mutex_unlock(&d->shared.mutex);
        free(r);
        return 0;
    }
    d->shared.n_wants += r->name == NULL;
    *d->shared.todo_end = r;
    d->shared.todo_end = &r->next;
    pthread_cond_signal(&d->shared.wake);
    pthread_mutex_unlock(&d->shared.mutex);
    return 0;
}

int depot_ask(struct depot *d, enum asset_role role, const char *name, struct err *e)
{
    struct request r = {.role = role, .name = strdup(name)};
    int rc = r.name ? add(d, &r, e) : err_set(e, ERR_OOM, "no memory for a look at a file");

    if (rc != 0)
        free(r.name);
    return rc;
}

int depot_send(struct depot *d, const struct peer *peer, const struct msg_want *want, struct err *e)
{
    const struct request r = {.peer = *peer, .want = *want};

    return add(d, &r, e);
}

int depot_fd(const struct depot *d)
{
    return d->fd;
}

bool depot_next(struct depot *d, struct depot_result *ret_result)
{
    struct ready *ready;
    uint64_t count;

    pthread_mutex_lock(&d->shared.mutex);
    ready = d->shared.done;
    if (ready) {
        d->shared.done = ready->next;
        if (!ready->next)
            d->shared.done_end = &d->shared.done;
        d->shared.done_bytes -= ready->result.frame.size;
        pthread_cond_signal(&d->shared.wake);
    } else if (read(d->fd, &count, sizeof count) < 0) {
        count = 0; /* nothing was waiting */
    }
    pthread_mutex_unlock(&d->shared.mutex);
    if (!ready)
        return false;
    *ret_result = ready->result;
    free(ready);
    return true;
}

struct depot_progress depot_progress(struct depot *d)
{
    struct depot_progress p;

    pthread_mutex_lock(&d->shared.mutex);
    p = d->shared.progress;
    pthread_mutex_unlock(&d->shared.mutex);
    return p;
}
