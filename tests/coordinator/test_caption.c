#include "coordinator/caption.h"
#include "tests/jobs/bundle.h"

#define AXES                                                                                       \
    "[{'name':'thing','columns':['thing'],'rows':[['pizza'],['kite']]},"                           \
    "{'name':'steps','columns':['steps'],'rows':[[10],[20]]},"                                     \
    "{'name':'seed','columns':['seed'],'range':{'first':7,'step':1,'count':4}}]"

static void assert_rest(const char *combine, const char *sheet, const char *expected)
{
    struct job *job = bundle_job((struct spec){.fixed = "'prompt':'a ${thing}'",
                                               .axes = AXES,
                                               .combine = combine,
                                               .path = "{index}.png",
                                               .sheet = sheet});
    struct job_sheet cells;
    struct caption c = {0};

    assert_true(job_sheet(job, &cells));
    assert_int_equal(caption_read(job, &cells, &c, NULL), 0);
    assert_string_equal(buf_text(&c.rest), expected);
    caption_done(&c);
    job_free(job);
}

static void an_axis_off_the_sheet_is_at_its_first_value(void **state)
{
    (void)state;
    assert_rest("[[0],[1],[2]]", "{'x':'thing','y':'steps'}", "seed 7 (first of 4)");
}

static void an_axis_zipped_with_one_on_the_sheet_changes_with_it(void **state)
{
    (void)state;
    assert_rest("[[0,1],[2]]", "{'x':'seed','y':'thing'}", "steps changes with thing");
    assert_rest("[[0,1],[2]]", "{'x':'steps','y':'seed'}", "thing changes with steps");
    assert_rest("[[0,1],[2]]", "{'x':'steps'}",
                "thing changes with steps \xc2\xb7 seed 7 (first of 4)");
}

static void axes_zipped_off_the_sheet_are_both_at_their_first_value(void **state)
{
    (void)state;
    assert_rest("[[0,1],[2]]", "{'x':'seed'}",
                "thing pizza (first of 2) \xc2\xb7 steps 10 (first of 2)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_axis_off_the_sheet_is_at_its_first_value),
        cmocka_unit_test(an_axis_zipped_with_one_on_the_sheet_changes_with_it),
        cmocka_unit_test(axes_zipped_off_the_sheet_are_both_at_their_first_value),
    };

    return cmocka_run_group_tests_name("caption", tests, NULL, NULL);
}
