/* Indices in groups that share what is costly: jobs/groups.h, against a list of all of them. */
#include "tests/jobs/bundle.h"

#include "jobs/groups.h"

/* Every index is in exactly one group, in ascending order, as groups_of and groups_seek say. */
static void check_partition(const struct job *job, const struct groups *g)
{
    uint64_t span = job_span(job);
    unsigned char *seen = calloc(span, 1);

    assert_int_equal(g->n * g->size, span);
    for (uint64_t group = 0; group < g->n; group++) {
        uint64_t before = 0;

        for (uint64_t k = 0; k < g->size; k++) {
            uint64_t index = groups_index(g, group, k);

            assert_true(index < span);
            assert_true(k == 0 || index > before);
            assert_int_equal(seen[index]++, 0);
            assert_int_equal(groups_of(g, index), group);
            assert_int_equal(groups_seek(g, group, index), k);
            assert_int_equal(groups_seek(g, group, index + 1), k + 1);
            before = index;
        }
    }
    free(seen);
}

static void a_job_without_costly_axes_is_one_group_in_index_order(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'a','columns':['a'],'rows':[['x'],['y']]},{'name':'seed','columns':"
                "['seed'],'range':{'first':0,'step':1,'count':5}}]",
        .fixed = "'prompt':'${a}'",
        .path = "{job}/{a}-{seed}.png"});
    struct groups g;

    (void)state;
    job_groups(job, &g);
    assert_int_equal(g.n, 1);
    for (uint64_t k = 0; k < 10; k++)
        assert_int_equal(groups_index(&g, 0, k), k);
    check_partition(job, &g);
    job_free(job);
}

static void models_sizes_and_steps_make_groups_wherever_they_stand(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':3}},"
                "{'name':'model','columns':['model'],'rows':[['m1'],['m2']]},"
                "{'name':'steps','columns':['steps'],'rows':[[5],[6]]},"
                "{'name':'size','columns':['size'],'rows':[['64x64'],['128x64'],['64x128']]}]"});
    struct groups g;

    (void)state;
    job_groups(job, &g);
    assert_int_equal(g.n, 12);
    assert_int_equal(g.size, 3);
    assert_int_equal(groups_index(&g, 1, 0), 1);
    check_partition(job, &g);
    job_free(job);
}

static void texts_with_loras_are_costly_and_plain_ones_are_not(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'look','columns':['look'],'rows':[['<lora:a:1>'],['plain']]},"
                "{'name':'thing','columns':['thing'],'rows':[['fox'],['owl']]}]",
        .fixed = "'prompt':'${thing} ${look}'"});

    (void)state;
    assert_true(job_axis_costly(job, 0));
    assert_false(job_axis_costly(job, 1));
    job_free(job);
}

static void zipped_axes_are_costly_together(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'model','columns':['model'],'rows':[['m1'],['m2']]},"
                "{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':4}},"
                "{'name':'steps','columns':['steps'],'rows':[[5],[6]]}]",
        .combine = "[[1],[0,2]]"});
    struct groups g;

    (void)state;
    job_groups(job, &g);
    assert_int_equal(g.n, 2);
    check_partition(job, &g);
    job_free(job);
}

static void too_many_combinations_leave_the_inner_ones_together(void **state)
{
    struct buf axes = {0};
    struct job *job;
    struct groups g;

    (void)state;
    buf_puts(&axes, "[{'name':'model','columns':['model'],'rows':[");
    for (int i = 0; i < 100; i++)
        buf_printf(&axes, "%s['m%d']", i ? "," : "", i);
    buf_puts(&axes, "]},{'name':'width','columns':['width'],'range':{'first':64,'step':8,'count':"
                    "50}}]");
    job = bundle_job((struct spec){.axes = buf_text(&axes), .path = "{job}/{index}.png"});
    job_groups(job, &g);
    assert_int_equal(g.n, 100);
    check_partition(job, &g);
    job_free(job);
    buf_done(&axes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_without_costly_axes_is_one_group_in_index_order),
        cmocka_unit_test(models_sizes_and_steps_make_groups_wherever_they_stand),
        cmocka_unit_test(texts_with_loras_are_costly_and_plain_ones_are_not),
        cmocka_unit_test(zipped_axes_are_costly_together),
        cmocka_unit_test(too_many_combinations_leave_the_inner_ones_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
