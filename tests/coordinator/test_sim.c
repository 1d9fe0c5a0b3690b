/*
 * A whole cluster in one process: the real reactor, store and output folder, simulated workers and
 * a simulated network that loses, repeats and reorders. Workers die, the coordinator is killed and
 * starts again. Every seed must end with exactly one accepted picture for every task.
 */
#include "proto/png.h"
#include "tests/coordinator/place.h"

#include <unistd.h>

#define SEEDS      12
#define TASKS      24
#define WORKERS    3
#define CAPACITY   2
#define FRAMES_MAX 4096
#define STEP_MS    50
#define END_MS     3000000 /* of simulated time: far more than any seed needs */
#define SAY_MS     1000    /* a worker says ready this often: nothing is lost for ever */
#define RESEND_MS  3000

struct frame {
    bool to_coordinator;
    int worker, generation;
    int64_t due_ms;
    struct buf bytes;
};

struct lease {
    struct attempt_ref ref;
    char *task;
    int64_t done_ms; /* rendered then */
    bool rendered, failed;
    int64_t sent_ms;
};

struct sim_worker {
    bool alive, welcome;
    int generation; /* of its process */
    struct lease leases[CAPACITY];
    int n_leases;
    int64_t said_ms, born_ms;
};

struct sim {
    uint64_t random;
    struct place p; /* the coordinator, and what time it is */
    bool silent;    /* the coordinator died after its commit: nothing leaves */
    struct sim_worker workers[WORKERS];
    struct frame frames[FRAMES_MAX];
    int n_frames;
    struct job *job;
    int accepted[TASKS]; /* acknowledgements that say so */
    int deaths, restarts, lost_frames;
};

static uint32_t draw(struct sim *s, uint32_t n)
{
    s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(s->random >> 33) % n;
}

/* Lost one time in 12, twice one time in 12; late by chance, so that frames pass each other. */
static void transmit(struct sim *s, bool to_coordinator, int worker, const struct buf *bytes)
{
    int copies = 1;

    if (draw(s, 12) == 0)
        copies = draw(s, 2) * 2;
    if (copies == 0)
        s->lost_frames++;
    while (copies-- > 0 && s->n_frames < FRAMES_MAX) {
        struct frame *f = &s->frames[s->n_frames++];

        *f = (struct frame){.to_coordinator = to_coordinator,
                            .worker = worker,
                            .generation = s->workers[worker].generation,
                            .due_ms = s->p.now_ms + draw(s, 10 * STEP_MS)};
        buf_append(&f->bytes, bytes->data, bytes->size);
    }
}

static int coordinator_sends(void *user, const struct peer *peer, const struct buf *frame,
                             struct err *e)
{
    struct sim *s = user;
    int worker = peer->id[1] - '0';

    if (s->silent || peer->id[0] != 'w')
        return 0;
    if (!s->workers[worker].alive)
        return err_set(e, ERR_MISSING, "no such peer");
    transmit(s, false, worker, frame);
    return 0;
}

static void coordinator_logs(void *user, enum log_level level, const char *event, const char *text)
{
    (void)user;
    (void)level;
    if (getenv("LITHO_SIM_LOG"))
        print_message("%s %s\n", event, text);
}

static void coordinator_start(struct sim *s)
{
    place_start(&s->p);
    for (size_t i = 0; i < s->p.coord.n_jobs; i++)
        MUST(index_check(s->p.output, s->p.store, s->p.coord.jobs[i]->number,
                         s->p.coord.jobs[i]->folder, e));
    s->silent = false;
}

static void worker_sends(struct sim *s, int worker, const struct msg *m)
{
    struct buf frame = {0};

    MUST(msg_encode(m, &frame, e));
    transmit(s, true, worker, &frame);
    buf_done(&frame);
}

static void worker_says_hello(struct sim *s, int worker)
{
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = PROTOCOL_VERSION,
                              .protocol_min = PROTOCOL_VERSION_MIN,
                              .role = "worker",
                              .software = "sim",
                              .name = "sim",
                              .device = "sim",
                              .device_class = "cpu-sim"}};

    s->workers[worker].welcome = false;
    s->workers[worker].said_ms = s->p.now_ms;
    worker_sends(s, worker, &m);
}

static void worker_says_ready(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];
    struct attempt_ref held[CAPACITY];
    struct msg m = {.type = MSG_READY, .ready = {.held = held}};

    for (int i = 0; i < w->n_leases; i++)
        held[m.ready.n_held++] = w->leases[i].ref;
    m.ready.credits = (uint32_t)(CAPACITY - w->n_leases);
    w->said_ms = s->p.now_ms;
    worker_sends(s, worker, &m);
}

static void lease_drop(struct sim_worker *w, const struct attempt_ref *ref)
{
    for (int i = 0; i < w->n_leases; i++) {
        if (w->leases[i].ref.index != ref->index || w->leases[i].ref.attempt != ref->attempt)
            continue;
        free(w->leases[i].task);
        w->leases[i] = w->leases[--w->n_leases];
        return;
    }
}

static bool is_rendered(const struct sim_worker *w, const struct attempt_ref *ref)
{
    for (int i = 0; i < w->n_leases; i++)
        if (w->leases[i].ref.index == ref->index && w->leases[i].ref.attempt == ref->attempt)
            return w->leases[i].rendered;
    return false;
}

static void lease_take(struct sim *s, struct sim_worker *w, const struct msg_lease *m)
{
    struct lease *l;

    for (int i = 0; i < w->n_leases; i++)
        if (w->leases[i].ref.index == m->ref.index && w->leases[i].ref.attempt == m->ref.attempt)
            return;
    if (w->n_leases == CAPACITY || !w->welcome)
        return;
    l = &w->leases[w->n_leases++];
    *l = (struct lease){.ref = m->ref, .task = strdup(m->task)};
    l->done_ms = s->p.now_ms + 200 + draw(s, 3000);
    if (draw(s, 40) == 0)
        l->done_ms += 1000000; /* it hangs */
}

static void worker_hears(struct sim *s, int worker, const struct msg *m)
{
    struct sim_worker *w = &s->workers[worker];

    switch (m->type) {
    case MSG_WELCOME:
        w->welcome = true;
        worker_says_ready(s, worker);
        break;
    case MSG_LEASE:
        lease_take(s, w, &m->lease);
        break;
    case MSG_ACK:
        if (strcmp(m->ack.verdict, "accepted") == 0 && is_rendered(w, &m->ack.ref))
            s->accepted[m->ack.ref.index] |= 1 << m->ack.ref.attempt;
        lease_drop(w, &m->ack.ref);
        break;
    case MSG_REVOKE:
        lease_drop(w, &m->revoke.ref);
        break;
    case MSG_ERROR:
        worker_says_hello(s, worker);
        break;
    default:
        break;
    }
}

static void render(struct sim *s, int worker, struct lease *l)
{
    static const uint8_t pixels[128 * 128 * 3]; /* as the tasks say */
    struct buf chunk = {0}, png = {0};
    struct png_text text = {.key = "litho"};
    struct msg m = {.type = MSG_RESULT,
                    .result = {.ref = l->ref, .device_class = "cpu-sim", .precision = "f32"}};

    buf_printf(&chunk, "{\"litho\":1,\"task\":%s}", l->task);
    text.text = buf_text(&chunk);
    MUST(png_encode(pixels, 128, 128, &text, 1, &png, e));
    MUST(hash_bytes(png.data, png.size, m.result.sha256, e));
    m.result.png = png.data;
    m.result.png_size = png.size;
    worker_sends(s, worker, &m);
    l->rendered = true;
    l->sent_ms = s->p.now_ms;
    buf_done(&png);
    buf_done(&chunk);
}

static void fail_by_chance(struct sim *s, int worker, struct lease *l)
{
    struct msg m = {
        .type = MSG_FAILED,
        .failed = {.ref = l->ref, .code = "cancelled", .text = "by chance", .retryable = true}};

    worker_sends(s, worker, &m);
    l->failed = true;
    l->done_ms = s->p.now_ms + RESEND_MS;
}

static void worker_works(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];

    for (int i = 0; i < w->n_leases; i++) {
        struct lease *l = &w->leases[i];
        struct msg progress = {.type = MSG_PROGRESS,
                               .progress = {.ref = l->ref, .step = 1, .steps = 20}};

        if (l->done_ms > s->p.now_ms) {
            if (draw(s, 20) == 0)
                worker_sends(s, worker, &progress);
        } else if (l->failed || (!l->rendered && draw(s, 10) == 0)) {
            fail_by_chance(s, worker, l);
        } else if (!l->rendered || s->p.now_ms - l->sent_ms >= RESEND_MS) {
            render(s, worker, l);
        }
    }
    if (s->p.now_ms - w->said_ms >= SAY_MS) {
        if (w->welcome)
            worker_says_ready(s, worker);
        else
            worker_says_hello(s, worker);
    }
}

static void worker_dies(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];

    while (w->n_leases)
        lease_drop(w, &w->leases[0].ref);
    w->alive = w->welcome = false;
    w->generation++;
    w->born_ms = s->p.now_ms + draw(s, 8000);
    s->deaths++;
}

static void deliver(struct sim *s, struct frame *f)
{
    char name[16];
    struct msg m;

    snprintf(name, sizeof name, "w%d", f->worker);
    MUST(msg_decode(f->bytes.data, f->bytes.size, &m, e));
    if (f->to_coordinator)
        place_hears(&s->p, name, &m);
    else if (s->workers[f->worker].alive && f->generation == s->workers[f->worker].generation)
        worker_hears(s, f->worker, &m);
    msg_done(&m);
}

static void network(struct sim *s)
{
    for (int i = 0; i < s->n_frames;) {
        struct frame f = s->frames[i];

        if (f.due_ms > s->p.now_ms) {
            i++;
            continue;
        }
        s->frames[i] = s->frames[--s->n_frames];
        deliver(s, &f);
        buf_done(&f.bytes);
    }
}

static bool over(const struct sim *s)
{
    return s->p.coord.n_jobs == 1 && s->p.coord.jobs[0]->phase != JOB_OPENING &&
           s->p.coord.jobs[0]->phase != JOB_RUNNING;
}

/* Killed before its effects, after them with its commit but before any message, or in between. */
static void coordinator_dies(struct sim *s)
{
    if (draw(s, 2) == 0) {
        s->silent = true;
        place_run(&s->p);
    }
    place_kill(&s->p);
    coordinator_start(s);
    s->restarts++;
}

static void turn(struct sim *s)
{
    s->p.now_ms += STEP_MS;
    for (int i = 0; i < WORKERS; i++) {
        struct sim_worker *w = &s->workers[i];

        if (!w->alive && s->p.now_ms >= w->born_ms) {
            w->alive = true;
            worker_says_hello(s, i);
        }
        if (w->alive)
            worker_works(s, i);
        if (w->alive && s->deaths < 6 && draw(s, 150) == 0)
            worker_dies(s, i);
    }
    network(s);
    MUST(batch_gone(&s->p.batch, s->p.now_ms, e));
    if (s->p.now_ms % 250 == 0)
        place_on(&s->p, &(struct event){.type = EVENT_TICK});
    if (s->restarts < 4 && draw(s, 60) == 0)
        coordinator_dies(s);
    else
        place_run(&s->p);
}

struct audit {
    struct sim *sim;
    int n[TASKS];
};

static int audit_record(void *user, const struct record *r, struct err *e)
{
    struct audit *a = user;
    struct buf bytes = {0};
    char hex[HASH_HEX_SIZE];
    int rc;

    if (r->failed)
        fail_msg("task %d failed: %s", (int)r->index, r->text);
    a->n[r->index]++;
    TRY(output_read(a->sim->p.output, r->path, 1 << 20, &bytes, e));
    TRY(hash_bytes(bytes.data, bytes.size, hex, e));
    assert_string_equal(hex, r->sha256);
out:
    buf_done(&bytes);
    return rc;
}

static void audit(struct sim *s)
{
    struct audit a = {.sim = s};
    struct buf index = {0};
    int lines = 0;

    assert_int_equal(s->p.coord.jobs[0]->phase, JOB_DONE);
    MUST(store_records(s->p.store, 1, 0, audit_record, &a, e));
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(a.n[i], 1);
        /* No two attempts were told that theirs is the picture. */
        assert_int_equal(s->accepted[i] & (s->accepted[i] - 1), 0);
    }
    MUST(output_read(s->p.output, "sim/index.jsonl", 1 << 20, &index, e));
    for (size_t i = 0; i < index.size; i++)
        lines += index.data[i] == '\n';
    assert_int_equal(lines, TASKS);
    buf_done(&index);
}

static void clean_up(struct sim *s)
{
    for (int i = 0; i < WORKERS; i++)
        worker_dies(s, i);
    for (int i = 0; i < s->n_frames; i++)
        buf_done(&s->frames[i].bytes);
    place_close(&s->p);
    job_free(s->job);
    free(s);
}

static void one_seed(uint64_t seed, int *deaths, int *restarts, int *lost)
{
    struct sim *s = calloc(1, sizeof *s);

    s->random = seed;
    s->p = (struct place){.user = s, .send = coordinator_sends, .log = coordinator_logs};
    s->job = seeds_job("sim", TASKS);
    place_open(&s->p, temporary_folder());
    place_hears_client(&s->p, "client");
    place_hears_submit(&s->p, "client", s->job, false);
    place_run(&s->p);
    while (!over(s) && s->p.now_ms < END_MS)
        turn(s);
    if (!over(s))
        fail_msg("seed %d: done %d of %d after %d s", (int)seed, (int)s->p.coord.jobs[0]->done,
                 TASKS, (int)(s->p.now_ms / 1000));
    audit(s);
    *deaths += s->deaths;
    *restarts += s->restarts;
    *lost += s->lost_frames;
    clean_up(s);
}

static void every_task_has_exactly_one_accepted_result(void **state)
{
    int deaths = 0, restarts = 0, lost = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        one_seed(seed, &deaths, &restarts, &lost);
    /* The weather was bad enough to mean something. */
    assert_true(deaths >= SEEDS);
    assert_true(restarts >= SEEDS);
    assert_true(lost >= 10 * SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_has_exactly_one_accepted_result),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
