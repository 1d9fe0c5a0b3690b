#include "tests/coordinator/fixture.h"
#include "worker/view.h"

#include <pthread.h>
#include <sys/stat.h>

enum { N_WORKERS = 8, N_ROUNDS = 60 };

struct crew {
    char *dir;
    pthread_barrier_t start, made, seen;
};

struct member {
    struct crew *crew;
    struct err e; /* of the first view that could not be made or used */
    bool failed;
};

static int setup(void **state)
{
    struct crew *crew = calloc(1, sizeof *crew);

    crew->dir = temporary_folder();
    assert_int_equal(pthread_barrier_init(&crew->start, NULL, N_WORKERS), 0);
    assert_int_equal(pthread_barrier_init(&crew->made, NULL, N_WORKERS), 0);
    assert_int_equal(pthread_barrier_init(&crew->seen, NULL, N_WORKERS), 0);
    *state = crew;
    return 0;
}

static int teardown(void **state)
{
    struct crew *crew = *state;

    pthread_barrier_destroy(&crew->start);
    pthread_barrier_destroy(&crew->made);
    pthread_barrier_destroy(&crew->seen);
    remove_tree(crew->dir);
    free(crew->dir);
    free(crew);
    return 0;
}

/* A link in a view that was made, seen after all have made theirs. */
static int use(struct member *m, struct view *v)
{
    struct buf path = {0};
    struct stat st;
    int rc;

    rc = view_make(v, &m->e);
    pthread_barrier_wait(&m->crew->made);
    if (rc == 0)
        rc = view_link(v, "model", "unet.safetensors", "/nowhere", &path, &m->e);
    pthread_barrier_wait(&m->crew->seen);
    if (rc == 0 && lstat(buf_text(&path), &st) != 0)
        rc = err_errno(&m->e, buf_text(&path));
    buf_done(&path);
    return rc;
}

static void *work(void *data)
{
    struct member *m = data;

    for (int round = 0; round < N_ROUNDS; round++) {
        struct view *v = NULL;
        struct err e;

        if (view_open(m->crew->dir, &v, &e) != 0)
            abort();
        pthread_barrier_wait(&m->crew->start);
        if (use(m, v) != 0)
            m->failed = true;
        view_close(v);
    }
    return NULL;
}

static void test_workers_that_start_at_once_in_one_folder_keep_their_views(void **state)
{
    struct crew *crew = *state;
    struct member members[N_WORKERS];
    pthread_t threads[N_WORKERS];

    for (int i = 0; i < N_WORKERS; i++) {
        members[i] = (struct member){.crew = crew};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &members[i]), 0);
    }
    for (int i = 0; i < N_WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N_WORKERS; i++)
        if (members[i].failed)
            fail_msg("%s", members[i].e.text);
}

static void test_what_a_dead_worker_left_is_removed(void **state)
{
    struct crew *crew = *state;
    char left[300], file[320];
    struct view *v;
    struct stat st;

    snprintf(left, sizeof left, "%s/views", crew->dir);
    assert_int_equal(mkdir(left, 0700), 0);
    snprintf(left, sizeof left, "%s/views/1-dead", crew->dir);
    assert_int_equal(mkdir(left, 0700), 0);
    snprintf(file, sizeof file, "%s/link", left);
    assert_int_equal(symlink("/nowhere", file), 0);
    MUST(view_open(crew->dir, &v, e));
    MUST(view_make(v, e));
    assert_int_not_equal(stat(left, &st), 0);
    view_close(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_workers_that_start_at_once_in_one_folder_keep_their_views, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_dead_worker_left_is_removed, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
