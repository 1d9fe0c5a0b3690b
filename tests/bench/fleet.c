#include "tests/bench/fleet.h"

#include "proto/msg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256

int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- what workers say; by hand, since the time of this side is not what is measured --- */

static void put_key(struct buf *b, const char *key)
{
    buf_putc(b, (char)(0xa0 | strlen(key)));
    buf_puts(b, key);
}

static void put_uint(struct buf *b, uint64_t value)
{
    char bytes[9] = {(char)0xcf};

    for (int i = 0; i < 8; i++)
        bytes[1 + i] = (char)(value >> (56 - 8 * i));
    buf_append(b, bytes, sizeof bytes);
}

static void put_ref(struct buf *b, const struct sim_worker *w, const struct held *h)
{
    put_key(b, "job");
    buf_append(b, "\xd9\x40", 2);
    buf_append(b, w->job, HASH_HEX_SIZE - 1);
    put_key(b, "index");
    put_uint(b, h->index);
    put_key(b, "attempt");
    put_uint(b, h->attempt);
}

static void put_type(struct buf *b, int pairs, const char *type)
{
    buf_putc(b, (char)(0x80 | pairs));
    put_key(b, "type");
    put_key(b, type);
}

static void send_frame(struct sim_worker *w, struct buf *frame)
{
    zmtp_put(&w->z, frame->data, frame->size);
    frame->size = 0;
}

/* The view of this moment: what waits here is held, the rest of the window is room. */
static void send_ready(struct fleet *f, struct sim_worker *w, struct buf *frame)
{
    put_type(frame, 3, "ready");
    put_key(frame, "credits");
    put_uint(frame, f->window - w->n);
    put_key(frame, "held");
    buf_putc(frame, (char)0xdc);
    buf_putc(frame, (char)(w->n >> 8));
    buf_putc(frame, (char)w->n);
    for (uint32_t i = 0; i < w->n; i++) {
        buf_putc(frame, (char)0x83);
        put_ref(frame, w, &w->queue[(w->first + i) % FLEET_WINDOW_MAX]);
    }
    send_frame(w, frame);
    w->ended = false;
}

static int send_hello(struct sim_worker *w, size_t number, struct err *e)
{
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = PROTOCOL_VERSION,
                              .protocol_min = PROTOCOL_VERSION_MIN,
                              .role = "worker",
                              .software = "bench_cluster",
                              .device = "simulated",
                              .device_class = "simulated",
                              .threads = 1}};
    struct buf frame = {0};
    char name[32];
    int rc;

    snprintf(name, sizeof name, "sim-%zu", number);
    m.hello.name = name;
    TRY(msg_encode(&m, &frame, e));
    send_frame(w, &frame);
out:
    buf_done(&frame);
    return rc;
}

/* --- what they hear: of a map, the values that they need --- */

struct heard {
    const char *type, *job;
    size_t type_size, job_size;
    uint64_t index, attempt;
    const char *text; /* of an error */
    size_t text_size;
};

/* One string or unsigned integer. Returns bytes taken, 0: something else. */
static size_t take(const unsigned char *p, size_t left, const char **ret_text, size_t *ret_size,
                   uint64_t *ret_n)
{
    size_t head = 1, width = 0, size = 0;

    *ret_text = NULL;
    *ret_n = 0;
    if (left == 0)
        return 0;
    if (p[0] < 0x80)
        return *ret_n = p[0], 1;
    if (p[0] >= 0xcc && p[0] <= 0xcf) {
        width = (size_t)1 << (p[0] - 0xcc);
        for (size_t i = 0; i < width && i + 1 < left; i++)
            *ret_n = *ret_n << 8 | p[1 + i];
        return left > width ? 1 + width : 0;
    }
    if ((p[0] & 0xe0) == 0xa0) {
        size = p[0] & 0x1f;
    } else if (p[0] >= 0xd9 && p[0] <= 0xdb) {
        width = (size_t)1 << (p[0] - 0xd9);
        for (size_t i = 0; i < width && i + 1 < left; i++)
            size = size << 8 | p[1 + i];
        head += width;
    } else {
        return 0;
    }
    *ret_text = (const char *)p + head;
    *ret_size = size;
    return head + size <= left ? head + size : 0;
}

static bool is(const char *text, size_t size, const char *word)
{
    return text && size == strlen(word) && memcmp(text, word, size) == 0;
}

/* Reads keys until one whose value is of another kind: those wanted come before. */
static void hear(const unsigned char *p, size_t size, struct heard *h)
{
    size_t at = 1, pairs = p[0] & 0x0f;

    *h = (struct heard){0};
    for (size_t i = 0; i < pairs; i++) {
        const char *key, *text;
        size_t key_size = 0, text_size = 0, n;
        uint64_t number;

        n = take(p + at, size - at, &key, &key_size, &number);
        at += n;
        if (!n || !(n = take(p + at, size - at, &text, &text_size, &number)))
            return;
        at += n;
        if (is(key, key_size, "type"))
            h->type = text, h->type_size = text_size;
        else if (is(key, key_size, "job"))
            h->job = text, h->job_size = text_size;
        else if (is(key, key_size, "index"))
            h->index = number;
        else if (is(key, key_size, "attempt"))
            h->attempt = number;
        else if (is(key, key_size, "text"))
            h->text = text, h->text_size = text_size;
    }
}

/* --- work --- */

static void lease_take(struct fleet *f, struct sim_worker *w, const struct heard *h)
{
    if (!f->first_lease_us)
        f->first_lease_us = now_us();
    f->leases++;
    if (h->job_size < sizeof w->job)
        memcpy(w->job, h->job, h->job_size);
    if (w->n == FLEET_WINDOW_MAX)
        return;
    if (w->n == 0)
        w->end_us = f->task_us ? now_us() + f->task_us : 0;
    w->queue[(w->first + w->n++) % FLEET_WINDOW_MAX] = (struct held){h->index, h->attempt};
}

static int hear_one(struct fleet *f, struct sim_worker *w, const unsigned char *frame, size_t size,
                    struct buf *out, struct err *e)
{
    struct heard h;

    hear(frame, size, &h);
    if (is(h.type, h.type_size, "lease")) {
        lease_take(f, w, &h);
    } else if (is(h.type, h.type_size, "ack")) {
        f->acks++;
    } else if (is(h.type, h.type_size, "welcome")) {
        send_ready(f, w, out);
    } else if (is(h.type, h.type_size, "ping")) {
        put_type(out, 1, "pong");
        send_frame(w, out);
    } else if (is(h.type, h.type_size, "error")) {
        return err_set(e, ERR_CONFLICT, "the coordinator says: %.*s", (int)h.text_size, h.text);
    }
    return 0;
}

/* Ends what is due. Returns when the next one is due, 0: none. */
static int64_t work(struct fleet *f, struct sim_worker *w, int64_t at_us, struct buf *out)
{
    while (w->n && w->end_us <= at_us) {
        put_type(out, 4, "empty");
        put_ref(out, w, &w->queue[w->first]);
        send_frame(w, out);
        w->first = (w->first + 1) % FLEET_WINDOW_MAX;
        w->n--;
        w->ended = true;
        f->busy_us += f->task_us;
        /* The next one begins when this is seen to be over: lateness here is idleness too. */
        w->end_us = f->task_us ? at_us + f->task_us : 0;
    }
    if (w->ended)
        send_ready(f, w, out);
    return w->n ? w->end_us : 0;
}

static int flush(struct fleet *f, struct sim_worker *w, struct err *e)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)(w - f->workers)};
    int rc;
    bool waits;

    if (w->z.out.size == w->z.out_at)
        return 0;
    TRY(zmtp_flush(&w->z, e));
    waits = w->z.out.size > w->z.out_at;
    if (waits == w->waits)
        return 0;
    w->waits = waits;
    event.events |= waits ? EPOLLOUT : 0;
    if (epoll_ctl(f->epoll, EPOLL_CTL_MOD, w->z.fd, &event) != 0)
        TRY(err_errno(e, "epoll"));
out:
    return rc;
}

static int serve(struct fleet *f, struct sim_worker *w, struct buf *out, struct err *e)
{
    const unsigned char *frame;
    size_t size;
    int rc;

    TRY(zmtp_read(&w->z, e));
    while (zmtp_next(&w->z, &frame, &size))
        TRY(hear_one(f, w, frame, size, out, e));
    work(f, w, now_us(), out);
    TRY(flush(f, w, e));
out:
    return rc;
}

/* Tasks that take time: who is due. */
static int tick(struct fleet *f, int64_t *ret_next_us, struct buf *out, struct err *e)
{
    int64_t at_us = now_us();
    int rc = 0;

    *ret_next_us = INT64_MAX;
    for (size_t i = 0; f->task_us && i < f->n; i++) {
        int64_t due_us = work(f, &f->workers[i], at_us, out);

        if (due_us && due_us < *ret_next_us)
            *ret_next_us = due_us;
        TRY(flush(f, &f->workers[i], e));
    }
out:
    return rc;
}

static int wait_events(struct fleet *f, struct epoll_event *events, int64_t until_us)
{
    int64_t left_us = until_us - now_us();
    struct timespec t = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};

    if (left_us < 0)
        t = (struct timespec){0};
    return epoll_pwait2(f->epoll, events, EVENTS_MAX, &t, NULL);
}

int fleet_run(struct fleet *f, int64_t until_us, struct err *e)
{
    struct epoll_event events[EVENTS_MAX];
    struct buf out = {0};
    int64_t next_us;
    int rc = 0;

    while (now_us() < until_us && !(f->stop_at_lease && f->leases)) {
        int n;

        TRY(tick(f, &next_us, &out, e));
        n = wait_events(f, events, next_us < until_us ? next_us : until_us);
        for (int i = 0; i < n; i++)
            TRY(serve(f, &f->workers[events[i].data.u64], &out, e));
    }
out:
    buf_done(&out);
    return rc;
}

int fleet_open(struct fleet *f, const char *endpoint, size_t n, uint32_t window, int64_t task_us,
               struct err *e)
{
    char identity[64];
    int rc = 0;

    *f = (struct fleet){.window = window, .task_us = task_us, .epoll = epoll_create1(0)};
    f->workers = calloc(n, sizeof *f->workers);
    if (f->epoll < 0 || !f->workers)
        TRY(err_set(e, ERR_OOM, "no room for %zu workers", n));
    for (; f->n < n; f->n++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = f->n};
        struct sim_worker *w = &f->workers[f->n];

        snprintf(identity, sizeof identity, "worker/sim-%zu/%08x", f->n, (unsigned)getpid());
        TRY(zmtp_connect(&w->z, endpoint, identity, e));
        TRY(send_hello(w, f->n, e));
        TRY(zmtp_flush(&w->z, e));
        if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, w->z.fd, &event) != 0)
            TRY(err_errno(e, "epoll"));
    }
out:
    if (rc != 0)
        fleet_close(f);
    return rc;
}

void fleet_close(struct fleet *f)
{
    for (size_t i = 0; i < f->n; i++)
        zmtp_close(&f->workers[i].z);
    free(f->workers);
    if (f->epoll > 0)
        close(f->epoll);
    *f = (struct fleet){0};
}
