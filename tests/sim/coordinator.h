/*
 * The simulated coordinator: the real reactor, with a disk and a depot of files in memory, killed
 * before its commit, between commit and messages, or at rest.
 */
#ifndef TESTS_SIM_COORDINATOR_H
#define TESTS_SIM_COORDINATOR_H

#include "tests/sim/cluster.h"

/* --- the coordinator's disk --- */

static bool is_later(const struct sim *s, uint64_t index)
{
    return s->chains && index % FRAMES > 0;
}

/* A frame's record comes after that of the frame before, and its picture started from that one's.
 */
static inline void record_check(struct sim *s, const struct record *r)
{
    struct disk *d = &s->disk;

    memcpy(d->is[r->index], r->sha256, HASH_HEX_SIZE);
    if (!is_later(s, r->index))
        return;
    if (d->records[r->index - 1] != 1 || (d->failed[r->index - 1] && !r->failed))
        fail_msg("frame %d is recorded before the one before it", (int)r->index);
    if (!r->failed && (strcmp(r->before, d->is[r->index - 1]) != 0 ||
                       strcmp(d->file_from[r->index], r->before) != 0 ||
                       strcmp(d->file_is[r->index], r->sha256) != 0))
        fail_msg("frame %d did not start from the one before it", (int)r->index);
}

static inline void row_apply(struct sim *s, const struct store_row *row)
{
    struct disk *d = &s->disk;

    switch (row->op) {
    case STORE_JOB:
        d->job = true;
        break;
    case STORE_STATE:
        snprintf(d->state, sizeof d->state, "%s", row->state);
        break;
    case STORE_ATTEMPT:
        d->has_attempt[row->index] = true;
        d->attempts[row->index] = (struct restored_attempt){.index = row->index,
                                                            .attempts = row->attempts,
                                                            .tries = row->tries,
                                                            .lost = row->lost,
                                                            .given = row->worker[0] != 0};
        break;
    case STORE_RECORD:
        s->broken |= d->records[row->record.index]++ > 0;
        record_check(s, &row->record);
        d->failed[row->record.index] = row->record.failed;
        d->has_attempt[row->record.index] = false;
        break;
    default:
        break;
    }
}

static inline void commit(struct sim *s)
{
    for (size_t i = 0; i < s->outbox.n; i++)
        if (s->outbox.items[i].type == OUT_STORE)
            row_apply(s, &s->outbox.items[i].row);
}

static inline void on(struct sim *s, const struct event *event)
{
    MUST(reactor_on(&s->coord, event, s->now_ms, &s->outbox, e));
}

static inline void do_write(struct sim *s, struct delivery *d)
{
    struct event event = {.type = EVENT_WRITTEN, .delivery = d};
    struct disk *disk = &s->disk;
    char expected[32], from[HASH_HEX_SIZE] = "";

    snprintf(expected, sizeof expected, "picture %d ", (int)d->index);
    if (d->png_size < strlen(expected) || memcmp(d->png, expected, strlen(expected)) != 0)
        fail_msg("task %d got another one's picture", (int)d->index);
    snprintf(from, sizeof from, "%.*s", (int)(d->png_size - strlen(expected)),
             (const char *)d->png + strlen(expected));
    if (!is_later(s, d->index))
        from[0] = 0;
    if (strcmp(from, d->record.before) != 0) {
        err_set(&event.failure, ERR_CANCELLED, "it started from another picture");
    } else if (chance(s, 30)) {
        s->refused++;
        err_set(&event.failure, ERR_IO, "the disk is full");
    } else if (disk->file[d->index] && strcmp(disk->file_from[d->index], from) == 0) {
        memcpy(d->record.sha256, disk->file_is[d->index], HASH_HEX_SIZE); /* it is adopted */
    } else {
        disk->file[d->index] = true;
        memcpy(disk->file_is[d->index], d->record.sha256, HASH_HEX_SIZE);
        memcpy(disk->file_from[d->index], from, HASH_HEX_SIZE);
    }
    on(s, &event);
}

static inline void do_before(struct sim *s, const struct out *out)
{
    struct event event = {.type = EVENT_BEFORE, .job = out->job, .index = out->index};
    struct record found = {.index = out->index - 1};

    if (s->disk.records[found.index]) {
        event.found = &found;
        memcpy(found.sha256, s->disk.is[found.index], HASH_HEX_SIZE);
        if (s->disk.failed[found.index])
            MUST(record_failure(&found, "", "worker_lost", "it failed", e));
        else
            MUST(record_picture(&found, "path", "", "cpu", "f32", e));
    }
    on(s, &event);
    record_done(&found);
}

static inline void do_probe(struct sim *s, const struct out *out)
{
    struct event event = {
        .type = EVENT_PROBED, .job = out->job, .index = out->index, .text = out->task};
    struct record found = {.index = out->index, .bytes = 9};
    char from[HASH_HEX_SIZE];

    event.found = &found;
    start_of(out->task, from);
    memcpy(found.sha256, s->disk.file_is[out->index], HASH_HEX_SIZE);
    if (s->disk.file[out->index] && strcmp(s->disk.file_from[out->index], from) == 0) {
        event.probe = PROBE_OURS;
        MUST(record_picture(&found, out->path, "", "cpu", "f32", e));
    }
    on(s, &event);
    record_done(&found);
}

/* --- files --- */

static inline void depot_ask(struct sim *s, const struct out *out)
{
    s->asked[out->role] = true;
    if (out->role == ASSET_MODEL) {
        free(s->asked_name);
        s->asked_name = strdup(out->path);
    }
}

/* An answer comes some time later; one that a kill overtakes is asked for again. */
static inline void depot_answers(struct sim *s)
{
    for (int role = 0; role <= ASSET_ROLES; role++) {
        struct asset_answer a = {.role = (enum asset_role)role};
        struct event event = {.type = EVENT_ASSET, .asset = &a};

        if (!s->asked[role] || chance(s, 3))
            continue;
        s->asked[role] = false;
        a.name = strdup(role == ASSET_MODEL ? s->asked_name : "");
        if (role == ASSET_MODEL) {
            a.label = strdup("m.safetensors");
            a.bytes = sizeof MODEL - 1;
            memcpy(a.sha256, s->model_sha256, sizeof a.sha256);
            MUST(listing_add(&a.files, a.label, a.sha256, a.bytes, e));
        }
        on(s, &event);
        asset_answer_done(&a);
    }
}

static inline void depot_sends(struct sim *s, const struct out *out)
{
    struct msg m = {.type = MSG_CHUNK,
                    .chunk = {.offset = out->want.offset, .total = sizeof MODEL - 1}};
    struct buf frame = {0};

    assert_string_equal(out->want.sha256, s->model_sha256);
    assert_true(out->want.offset + out->want.bytes < sizeof MODEL);
    memcpy(m.chunk.sha256, s->model_sha256, HASH_HEX_SIZE);
    m.chunk.data = MODEL + out->want.offset;
    m.chunk.data_size = out->want.bytes;
    MUST(msg_encode(&m, &frame, e));
    transmit(s, false, out->peer.id[1] - '0', frame.data, frame.size);
    buf_done(&frame);
}

static inline void effects(struct sim *s, size_t *done)
{
    for (; *done < s->outbox.n; ++*done) {
        struct out out = s->outbox.items[*done];

        if (out.type == OUT_OPEN) {
            on(s, &(struct event){.type = EVENT_OPENED,
                                  .job = out.job,
                                  .text = coord_job(&s->coord, out.job)->name});
        } else if (out.type == OUT_PROBE) {
            do_probe(s, &out);
        } else if (out.type == OUT_BEFORE) {
            do_before(s, &out);
        } else if (out.type == OUT_ASSET) {
            depot_ask(s, &out);
        } else if (out.type == OUT_CHUNK) {
            depot_sends(s, &out);
        } else if (out.type == OUT_WRITE) {
            s->outbox.items[*done].delivery = NULL;
            do_write(s, out.delivery);
        }
    }
}

/* Could be in a pair for t with another worker of its host. */
static inline bool is_idle(const struct worker *w, const struct task_entry *t)
{
    return !w->lost && !w->leaving && w->stated && w->credits > 0 && w->n_tasks == 0 &&
           w->probing == 0 && !w->reserved && w->meeting && w->meeting[0] &&
           !task_refused_by(t, w->session) &&
           !block_holds(&w->blocks, t->needs.model_key, t->needs.pixels);
}

/* A pair of two hosts is for want of another idle worker on either, and can meet. */
static inline void audit_pair(struct sim *s, int helper, const struct msg_lease *m)
{
    const struct task_entry *t = coord_task(&s->coord, s->coord.jobs[0], m->ref.index);
    int leader = m->gang_meeting[1] - '0';

    if (strcmp(host_of(s, leader), host_of(s, helper)) == 0)
        return;
    s->across++;
    if (leader == WORKERS - 1 || helper == WORKERS - 1)
        fail_msg("workers %d and %d cannot meet", leader, helper);
    for (size_t i = 0; t && i < s->coord.n_workers; i++) {
        const struct worker *v = s->coord.workers[i];

        if (is_idle(v, t) &&
            (strcmp(v->host, host_of(s, leader)) == 0 || strcmp(v->host, host_of(s, helper)) == 0))
            fail_msg("a pair of two hosts, while another worker of %s is idle", v->host);
    }
}

static inline void messages(struct sim *s)
{
    for (size_t i = 0; i < s->outbox.n; i++) {
        const struct out *out = &s->outbox.items[i];
        struct msg m;

        if (out->type == OUT_LOG && strcmp(out->event, "second_attempt") == 0)
            s->seconds++;
        if (out->type == OUT_LOG && getenv("LITHO_SIM_LOG"))
            print_message("%d %s %s\n", (int)s->now_ms, out->event, out->text);
        if (out->type != OUT_SEND || out->peer.id[0] != 'w')
            continue;
        MUST(msg_decode(out->frame.data, out->frame.size, &m, e));
        if (m.type == MSG_ACK && strcmp(m.ack.verdict, "accepted") == 0 &&
            s->results[m.ack.ref.index] >> m.ack.ref.attempt % 64 & 1)
            s->acked[m.ack.ref.index] = true;
        if (m.type == MSG_LEASE && m.lease.gang_rank == 1)
            audit_pair(s, out->peer.id[1] - '0', &m.lease);
        msg_done(&m);
        transmit(s, false, out->peer.id[1] - '0', out->frame.data, out->frame.size);
    }
}

/* --- the coordinator's life --- */

static inline void coordinator_start(struct sim *s)
{
    struct restored r = {.number = 1, .name = "sim", .folder = "folder", .state = s->disk.state};
    struct restored_attempt attempts[TASKS];
    size_t size;
    const char *bundle = job_bundle(s->job, &size);

    MUST(coord_init(&s->coord, &(struct coord_limits){.assets = s->files}, "/out", e));
    if (!s->disk.job)
        return;
    memcpy(r.hash, job_hash(s->job), sizeof r.hash);
    r.tasks = TASKS;
    r.attempts = attempts;
    for (int i = 0; i < TASKS; i++) {
        r.done += s->disk.records[i] && !s->disk.failed[i];
        r.failed += s->disk.records[i] && s->disk.failed[i];
        if (s->disk.has_attempt[i])
            attempts[r.n_attempts++] = s->disk.attempts[i];
    }
    if (strcmp(s->disk.state, "done") != 0 && strcmp(s->disk.state, "failed") != 0) {
        MUST(job_load(bundle, size, &r.job, e));
        for (uint64_t i = 0; i < TASKS; i++)
            if (s->disk.records[i])
                MUST(bits_add(&r.settled, i, e));
    }
    MUST(reactor_restore(&s->coord, &r, s->now_ms, e));
    job_free(r.job);
    bits_done(&r.settled);
}

/* An acknowledged result that is not durable is lost for good: its worker has forgotten it. */
static inline void coordinator_kill(struct sim *s)
{
    for (int i = 0; i < TASKS; i++)
        s->broken |= s->acked[i] && !s->disk.records[i];
    outbox_clear(&s->outbox);
    coord_done(&s->coord);
    s->restarts++;
    memset(s->asked, 0, sizeof s->asked);
    coordinator_start(s);
}

static inline void batch(struct sim *s)
{
    size_t done = 0, before;
    uint32_t killed = s->restarts < 5 && chance(s, 60) ? 1 + draw(s, 3) : 0;

    effects(s, &done);
    do {
        before = s->outbox.n;
        MUST(reactor_schedule(&s->coord, s->now_ms, &s->outbox, e));
        effects(s, &done);
    } while (s->outbox.n > before);
    if (s->acks_too_soon)
        messages(s);
    if (killed == 1) {
        coordinator_kill(s);
        return;
    }
    commit(s);
    if (killed == 2) {
        coordinator_kill(s);
        return;
    }
    if (!s->acks_too_soon)
        messages(s);
    outbox_clear(&s->outbox);
    if (killed == 3)
        coordinator_kill(s);
}

static inline void submit(struct sim *s)
{
    struct peer client = peer_named("client");
    struct msg hello = {
        .type = MSG_HELLO,
        .hello = {.protocol = PROTOCOL_VERSION, .protocol_min = 1, .role = "client", .name = ""}};
    struct msg m = {.type = MSG_SUBMIT, .submit = {.request = 1}};

    m.submit.bundle = job_bundle(s->job, &m.submit.bundle_size);
    on(s, &(struct event){.type = EVENT_MESSAGE, .peer = client, .msg = &hello});
    on(s, &(struct event){.type = EVENT_MESSAGE, .peer = client, .msg = &m});
    batch(s);
}

#endif
