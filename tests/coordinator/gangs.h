/* Workers that can meet, and a job that asks for gangs: for the tests of coordinator/gangs.h. */
#ifndef TESTS_COORDINATOR_GANGS_H
#define TESTS_COORDINATOR_GANGS_H

#include "tests/coordinator/table.h"

static inline struct job *gang_job(const char *gang, int n)
{
    char conduct[100];

    snprintf(conduct, sizeof conduct, "{'gang':%s}", gang);
    return seeds_job_with(n, (struct spec){.job = "gang", .conduct = conduct});
}

#define PAIR "{'guidance':2,'tensor':1}"

static inline void meets(struct table *t, const char *name, const char *host, const char *class)
{
    hello_with(t, (struct msg_hello){.name = name, .device_class = class, .host = host});
}

static inline void join_gangs(struct table *t, const char *name)
{
    meets(t, name, "a", "cpu-avx2");
    ready_to_meet(t, name, 2);
}

static inline void helped(struct table *t, const char *from, uint64_t index, uint32_t attempt)
{
    struct msg m = {.type = MSG_HELPED};

    m.helped.ref = ref(t, index, attempt);
    say(t, from, &m);
}

static inline void assert_part(const struct table *t, const char *to, uint32_t guidance,
                               uint32_t tensor, uint32_t rank, const char *meeting)
{
    struct msg m;

    assert_true(sent(t, to, MSG_LEASE, 0, &m));
    assert_int_equal(m.lease.gang_guidance, guidance);
    assert_int_equal(m.lease.gang_tensor, tensor);
    assert_int_equal(m.lease.gang_rank, rank);
    assert_string_equal(m.lease.gang_meeting, meeting);
    msg_done(&m);
}

/* A pair at work at task 0: w1 leads attempt 1, w2 has attempt 2. */
static inline void pair_at_work(struct table *t, int n)
{
    submit_job(t, gang_job(PAIR, n));
    join_gangs(t, "w1");
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    join_gangs(t, "w2");
}

#endif
