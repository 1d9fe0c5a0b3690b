/*
 * What a simulated cluster is made of, and its network, which loses, repeats and delays frames. All
 * is drawn from the seed.
 */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

#include "coordinator/reactor.h"
#include "tests/coordinator/fixture.h"
#include "worker/fetch.h"
#include "worker/session.h"

#define TASKS   24
#define FRAMES  6 /* of each chain, where there are chains */
#define WORKERS 5 /* at most */
#define STEP_MS 100
#define MODEL                                                                                      \
    "what a model is made of, in more than a hundred bytes: so it comes in many parts, some "      \
    "late, some twice"
#define PART 16 /* bytes of it in one chunk */

struct frame {
    bool up; /* to the coordinator */
    int worker, connection;
    int64_t due_ms;
    struct buf bytes;
};

struct sim_worker {
    struct session *session; /* NULL: dead */
    int process;             /* grows with each death: part of its address */
    int connection;          /* grows with each one: frames of old ones are lost */
    int64_t born_ms;
    bool rendering, cancelled, met; /* met: its gang was complete */
    struct attempt_ref ref;
    char start[HASH_HEX_SIZE];  /* of the picture that it starts from; "" */
    struct session_gang gang;   /* of what it renders; guidance 0: alone */
    char meeting[32], next[32]; /* the gang's; what this worker offers */
    int offers;
    int64_t done_ms, stepped_ms;
    uint32_t step;
    struct fetch fetch;
    char model[sizeof MODEL]; /* on its disk: survives it */
    size_t have;
    struct attempt_ref gathering[SESSION_LEASES_MAX];
    size_t n_gathering;
};

/* What survives a kill. */
struct disk {
    bool job;
    char state[16];
    bool file[TASKS];
    int records[TASKS]; /* committed rows: never more than one */
    bool failed[TASKS];
    /* With chains: of the file, what it is and started from; of the record, what it is. */
    char file_is[TASKS][HASH_HEX_SIZE], file_from[TASKS][HASH_HEX_SIZE], is[TASKS][HASH_HEX_SIZE];
    struct restored_attempt attempts[TASKS];
    bool has_attempt[TASKS];
};

struct sim {
    uint64_t random;
    int64_t now_ms;
    struct coord coord;
    struct outbox outbox;
    struct disk disk;
    struct sim_worker workers[WORKERS];
    int n_workers;
    struct frame *frames;
    size_t n_frames, room;
    struct job *job;
    bool chains; /* the job has chains, frames of which may be shared */
    char model_sha256[HASH_HEX_SIZE];
    bool files;                  /* no worker has the model */
    bool asked[ASSET_ROLES + 1]; /* of the depot, and not answered */
    char *asked_name;            /* the model's; owned */
    bool calm;                   /* no faults any more */
    bool acks_too_soon;          /* the planted bug: messages leave before the commit */
    bool broken;                 /* an acknowledged picture was lost, or a row came twice */
    bool acked[TASKS];           /* a picture of it was acknowledged as accepted */
    uint64_t results[TASKS];     /* attempts that sent a picture, as bits */
    int deaths, restarts, lost, refused, seconds, pairs;
    bool hosts; /* two hosts of two workers each, and one whose worker others cannot reach */
    int across, hosts_lost; /* pairs of workers of two hosts */
};

static uint32_t draw(struct sim *s, uint32_t n)
{
    s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(s->random >> 33) % n;
}

/* The picture that a task starts from, by its hash; "": none. */
static inline void start_of(const char *task, char ret_hex[HASH_HEX_SIZE])
{
    const char *key = "\"init_image\":\"sha256:", *at = strstr(task, key);

    snprintf(ret_hex, HASH_HEX_SIZE, "%.64s", at ? at + strlen(key) : "");
}

static bool chance(struct sim *s, uint32_t one_in)
{
    return !s->calm && draw(s, one_in) == 0;
}

static inline const char *host_of(const struct sim *s, int worker)
{
    static const char *const hosts[WORKERS] = {"a", "a", "b", "b", "c"};

    return s->hosts ? hosts[worker] : "here";
}

static inline struct peer peer_of(const struct sim *s, int worker)
{
    char name[32];

    snprintf(name, sizeof name, "w%d.%d", worker, s->workers[worker].process);
    return peer_named(name);
}

static inline void transmit(struct sim *s, bool up, int worker, const void *data, size_t size)
{
    int copies = chance(s, 15) ? (int)draw(s, 2) * 2 : 1;

    s->lost += copies == 0;
    while (copies-- > 0) {
        struct frame *f;

        if (s->n_frames == s->room) {
            s->room = s->room ? s->room * 2 : 256;
            s->frames = realloc(s->frames, s->room * sizeof *s->frames);
            assert_non_null(s->frames);
        }
        f = &s->frames[s->n_frames++];
        *f = (struct frame){.up = up,
                            .worker = worker,
                            .connection = s->workers[worker].connection,
                            .due_ms = s->now_ms + (s->calm ? 0 : draw(s, 500))};
        buf_append(&f->bytes, data, size);
    }
}

#endif
