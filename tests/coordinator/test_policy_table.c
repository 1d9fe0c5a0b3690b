/*
 * The policy's table in proto/PROTOCOL.md, row by row: each class is failed with until the task
 * fails, by many workers and by one, and three times by one worker, to see whether it is blocked.
 */
#include "tests/arrows.h"
#include "tests/coordinator/table.h"

#define WORKERS 20 /* more than any class has tries */

struct row {
    char classes[CELL_MAX], costs[CELL_MAX], tries[CELL_MAX], where[CELL_MAX], blocks[CELL_MAX];
};

static const char *name_of(int worker)
{
    static char name[8];

    snprintf(name, sizeof name, "w%d", worker);
    return name;
}

/* Each has more memory than those before. */
static void join_all(struct table *t, int n)
{
    for (int i = 0; i < n; i++) {
        hello_with(t, (struct msg_hello){.name = name_of(i), .memory_bytes = (i + 1) * 1000000ull});
        ready(t, name_of(i), 0);
    }
}

/* Nobody of the n is silent meanwhile. */
static void time_passes(struct table *t, int n)
{
    for (int i = 0; i < n; i++)
        say(t, name_of(i), &(struct msg){.type = MSG_PONG});
    tick(t, 10000);
}

/* It gets a task or it does not. */
static bool gets(struct table *t, int worker, int of)
{
    fresh(t);
    ready(t, name_of(worker), 1);
    time_passes(t, of);
    return count_sent(t, name_of(worker), MSG_LEASE) == 1;
}

/* Failures of task 0, by one worker after the other, until it is over; WORKERS: it never is. */
static int failures(const char *class, int workers)
{
    void *one = NULL;
    struct table *t;
    int n = 0;

    setup(&one);
    t = one;
    submit(t, "a", 1);
    join_all(t, workers);
    while (n < WORKERS && gets(t, n % workers, workers)) {
        failed(t, name_of(n % workers), 0, (uint32_t)n + 1, class);
        n++;
        if (recorded(t, 0))
            break;
    }
    teardown(&one);
    return n;
}

/* Both have room: the other one gets it. */
static bool elsewhere_first(const char *class)
{
    void *one = NULL;
    struct table *t;
    bool other;

    setup(&one);
    t = one;
    submit(t, "a", 1);
    join_all(t, 2);
    assert_true(gets(t, 0, 2));
    failed(t, name_of(0), 0, 1, class);
    fresh(t);
    ready(t, name_of(0), 1);
    ready(t, name_of(1), 1);
    time_passes(t, 2);
    other = count_sent(t, name_of(1), MSG_LEASE) == 1;
    teardown(&one);
    return other;
}

static bool blocks(const char *class)
{
    void *one = NULL;
    struct table *t;
    bool blocked;

    setup(&one);
    t = one;
    submit(t, "a", 9);
    join_all(t, 2);
    for (int i = 0; i < 3; i++) {
        struct msg m;

        assert_true(gets(t, 0, 2));
        assert_true(sent(t, name_of(0), MSG_LEASE, 0, &m));
        failed(t, name_of(0), m.lease.ref.index, m.lease.ref.attempt, class);
        msg_done(&m);
    }
    blocked = logged(t, "worker_blocked") == 1;
    teardown(&one);
    return blocked;
}

static size_t wrong_if(bool wrong, const char *class, const char *what, int seen)
{
    if (wrong)
        print_error("%s: %s: %d\n", class, what, seen);
    return wrong;
}

static size_t check(const struct row *r, const char *class)
{
    bool costs = strcmp(r->costs, "yes") == 0, never = strcmp(r->where, "never") == 0;
    bool only_elsewhere = strncmp(r->where, "only on workers", 15) == 0;
    int tries = strcmp(r->tries, "any") == 0 ? WORKERS : (int)strtol(r->tries, NULL, 10);
    int alone = only_elsewhere || never ? 1 : tries;
    int many = failures(class, WORKERS), one = failures(class, 1);
    size_t wrong = 0;

    wrong += wrong_if(costs != (many < WORKERS), class, "costs a try", many);
    wrong += wrong_if(many != tries, class, "tries", many);
    wrong += wrong_if(one != alone, class, "tries of a worker that is alone", one);
    if (!never && strcmp(r->where, "anywhere") != 0)
        wrong += wrong_if(!elsewhere_first(class), class, "not elsewhere first", 0);
    wrong += wrong_if((strncmp(r->blocks, "yes", 3) == 0) != blocks(class), class, "blocks", 0);
    return wrong;
}

static size_t check_row(const char *line)
{
    char *rest = NULL;
    struct row r;
    size_t wrong = 0;

    cell_read(&line, r.classes);
    cell_read(&line, r.costs);
    cell_read(&line, r.tries);
    cell_read(&line, r.where);
    cell_read(&line, r.blocks);
    for (char *class = strtok_r(r.classes, ", ", &rest); class;
         class = strtok_r(NULL, ", ", &rest)) {
        if (err_from_name(class) != ERR_LOST) /* no failure: test_losses */
            wrong += check(&r, class);
    }
    return wrong;
}

static void each_class_is_treated_as_the_protocol_says(void **state)
{
    FILE *f = fopen(SOURCE_DIR "/proto/PROTOCOL.md", "r");
    size_t wrong = 0, rows = 0;
    bool found = false;
    char line[2000];

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) && (!found || line[0] == '|')) {
        if (found && line[1] != '-') {
            wrong += check_row(line + 1);
            rows++;
        }
        found |= strncmp(line, "| class | costs a try |", 23) == 0;
    }
    fclose(f);
    assert_true(rows > 5);
    assert_int_equal(wrong, 0);
}

static void a_worker_that_states_no_memory_may_have_what_was_too_large(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    hello_with(t, (struct msg_hello){.name = "small", .memory_bytes = 4 << 20});
    ready(t, "small", 1);
    hello_with(t, (struct msg_hello){.name = "unstated"});
    ready(t, "unstated", 0);
    failed(t, "small", 0, 1, "oom");
    fresh(t);
    ready(t, "unstated", 1);
    assert_leased(t, "unstated", 0, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_class_is_treated_as_the_protocol_says),
        SENTENCE(a_worker_that_states_no_memory_may_have_what_was_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
