#include "tests/jobs/bundle.h"

#include "jobs/clash.h"

#include <time.h>

static struct task base(void)
{
    struct task t = task_defaults();

    t.model = (char *)"m";
    t.prompt = t.negative_prompt = (char *)"";
    t.sampler = SAMPLER_EULER;
    t.steps = 20;
    t.width = t.height = 512;
    return t;
}

static void clashes(struct task t, const char *message)
{
    struct err e = {0};

    assert_int_equal(task_check(&t, &e), ERR_INPUT);
    if (!strstr(e.text, message))
        fail_msg("'%s' does not hold '%s'", e.text, message);
}

static void passes(struct task t)
{
    struct err e = {0};

    if (task_check(&t, &e) != 0)
        fail_msg("%s", e.text);
}

static void fields_that_contradict_each_other_are_refused(void **state)
{
    struct task t = base();

    (void)state;
    passes(t);
    t.mask = (char *)"/m.png";
    clashes(t, "mask: there is no init_image");
    t.init_image = (char *)"/a.png";
    passes(t);
    t.inpaint_full_res = true;
    passes(t);
    t.mask = NULL;
    clashes(t, "inpaint_full_res: there is no mask");
    t.inpaint_full_res = false;
    t.hr_scale = 2;
    clashes(t, "not with init_image");
    t.hr_scale = 0;
    t.outpaint_top = 64;
    passes(t);
    t.init_image = NULL;
    clashes(t, "outpaint_left: there is no init_image");
    t.outpaint_top = 0;
    t.seed_resize_from_h = 64;
    clashes(t, "belong together");
}

static void samplers_take_what_they_can_use(void **state)
{
    struct task t = base();

    (void)state;
    t.eta = (struct task_number){true, 0};
    passes(t);
    t.eta.value = 0.5;
    clashes(t, "eta: sampler 'euler' has none");
    t.sampler = SAMPLER_EULER_A;
    passes(t);
    t.s_noise = (struct task_number){true, 1.1};
    passes(t);
    t.sampler = SAMPLER_DPMPP_2M;
    t.eta.set = false;
    clashes(t, "s_noise: sampler 'dpmpp_2m' adds no noise");
    t.s_noise.value = 1;
    t.scheduler = SCHEDULER_BETA;
    passes(t);
    t.sampler = SAMPLER_LCM;
    clashes(t, "sampler 'lcm' cannot use scheduler 'beta'");
    t.scheduler = SCHEDULER_UNIFORM;
    passes(t);
    bundle_refused((struct spec){.axes = "[{'name':'a','columns':['sampler'],'rows':[['euler'],"
                                         "['tcd']]}]",
                                 .fixed = "'s_noise':1.5,'scheduler':'simple'"},
                   "sampler 'tcd' cannot use scheduler 'simple'");
    bundle_refused((struct spec){.axes = "[{'name':'a','columns':['sampler'],'rows':[['euler_a'],"
                                         "['heun']]},{'name':'e','columns':['eta'],'rows':[[''],"
                                         "[0],[0.5]]}]"},
                   "exclude: [{eta: 0.5, sampler: heun}]");
}

static void finished_pictures_have_a_largest_size(void **state)
{
    struct task t = base();

    (void)state;
    t.hr_scale = 16;
    passes(t);
    t.width = 520;
    clashes(t, "8 to 8192 pixels wide and high");
    t.hr_scale = 0;
    t.hr_resize_x = 8;
    t.width = 1024;
    t.height = 512;
    clashes(t, "8 to 8192 pixels wide and high"); /* four pixels high */
    t = base();
    t.init_image = (char *)"/a.png";
    t.outpaint_left = 8192 - 512;
    passes(t);
    t.outpaint_right = 8;
    clashes(t, "at most 8192 pixels wide");
    t.outpaint_right = t.outpaint_left = 0;
    t.outpaint_bottom = 8192;
    clashes(t, "at most 8192 pixels high");
}

static void a_strength_without_a_step_is_refused(void **state)
{
    struct task t = base();

    (void)state;
    t.denoising_strength = 0.04; /* of a picture that is not there: nothing */
    passes(t);
    t.init_image = (char *)"/a.png";
    clashes(t, "no whole step");
    t.denoising_strength = 0.05;
    passes(t);
    t.init_image = NULL;
    t.hr_scale = 2;
    t.hr_second_pass_steps = 10;
    clashes(t, "the second pass' steps");
    t.denoising_strength = 0.1;
    passes(t);
}

static void axes_clash_only_where_they_meet(void **state)
{
    static const char axes[] = "[{'name':'i','columns':['init_image'],'rows':[['/a.png'],['']]},"
                               "{'name':'m','columns':['mask'],'rows':[['/m.png'],['']]}]";

    (void)state;
    bundle_refused((struct spec){.axes = axes}, "exclude: [{mask: /m.png, init_image: \"\"}]");
    job_free(bundle_job(
        (struct spec){.axes = axes, .exclude = "[{'mask':['/m.png'],'init_image':['']}]"}));
    job_free(bundle_job((struct spec){.axes = axes, .combine = "[[0,1]]"}));
    bundle_refused((struct spec){.axes = "[{'name':'i','columns':['init_image'],'rows':[['']"
                                         ",['/a.png']]},{'name':'m','columns':['mask'],'rows':"
                                         "[['/m.png'],['']]}]",
                                 .combine = "[[0,1]]"},
                   "mask: there is no init_image");
    bundle_refused((struct spec){.fixed = "'mask':'/m.png'"}, "mask: there is no init_image");
    job_free(bundle_job((struct spec){.axes = "[{'name':'i','columns':['init_image'],'rows':"
                                              "[['/a.png'],['/b.png']]}]",
                                      .fixed = "'mask':'/m.png'"}));
}

static void sizes_are_checked_pair_by_pair(void **state)
{
    static const char axes[] = "[{'name':'w','columns':['width'],'rows':[[512],[8192]]},"
                               "{'name':'s','columns':['hr_scale'],'rows':[[16],[0]]}]";

    (void)state;
    bundle_refused((struct spec){.axes = axes}, "exclude: [{width: 8192, hr_scale: 16}]");
    job_free(bundle_job((struct spec){.axes = axes, .combine = "[[0,1]]"}));
    job_free(
        bundle_job((struct spec){.axes = axes, .exclude = "[{'width':[8192],'hr_scale':[16]}]"}));
    bundle_refused((struct spec){.axes = axes, .exclude = "[{'width':[512],'hr_scale':[16]}]"},
                   "hr_scale: the second pass");
    bundle_refused((struct spec){.axes = "[{'name':'w','columns':['size'],'rows':[['512x512'],"
                                         "['512x1024']]}]",
                                 .fixed = "'hr_scale':16"},
                   "exclude: [{size: 512x1024}]");
}

static void ranges_are_checked_at_every_value(void **state)
{
    static const char axes[] =
        "[{'name':'w','columns':['width'],'range':{'first':64,'step':64,'count':128}},"
        "{'name':'l','columns':['outpaint_left'],'range':{'first':0,'step':64,'count':65}},"
        "{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':100000000}}]";
    static const char fixed[] = "'init_image':'/a.png'";

    (void)state;
    bundle_refused((struct spec){.axes = axes, .fixed = fixed}, "outpaint_left: the extended");
    bundle_refused((struct spec){.axes = "[{'name':'d','columns':['denoising_strength'],'range':"
                                         "{'first':0.02,'step':0.01,'count':99}}]",
                                 .fixed = fixed},
                   "exclude: [{denoising_strength: 0.02}]");
    job_free(bundle_job((struct spec){.axes = "[{'name':'d','columns':['denoising_strength'],"
                                              "'range':{'first':0.02,'step':0.01,'count':99}}]",
                                      .fixed = fixed,
                                      .exclude = "[{'denoising_strength':[0.02,0.03,0.04]}]"}));
}

static void a_hundred_million_tasks_are_checked_at_once(void **state)
{
    clock_t start = clock();
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'d','columns':['denoising_strength'],'range':{'first':0.1,'step':0.01,"
                "'count':91}},{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,"
                "'count':100000000}},{'name':'i','columns':['init_image'],'rows':[['/a.png'],"
                "['/b.png'],['/c.png']]}]",
        .exclude = "[{'seed':[7],'init_image':['/a.png']},{'denoising_strength':[0.5]}]"});

    (void)state;
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 0.5);
    assert_int_equal(job_count(job), 90 * (UINT64_C(300000000) - 1));
    job_free(job);
}

static void axes_too_large_to_decide_are_told(void **state)
{
    (void)state;
    bundle_refused((struct spec){.axes = "[{'name':'d','columns':['denoising_strength'],'range':"
                                         "{'first':0.1,'step':1e-7,'count':2000000}}]",
                                 .fixed = "'init_image':'/a.png'"},
                   "more than 1000000 values of denoising_strength");
    bundle_refused(
        (struct spec){
            .axes = "[{'name':'w','columns':['width'],'range':{'first':8,'step':8,'count':1000}},"
                    "{'name':'l','columns':['outpaint_left'],'range':{'first':0,'step':8,'count':"
                    "1000}},{'name':'r','columns':['outpaint_right'],'range':{'first':0,'step':8,"
                    "'count':20}}]",
            .fixed = "'init_image':'/a.png'"},
        "too many combinations");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_that_contradict_each_other_are_refused),
        cmocka_unit_test(samplers_take_what_they_can_use),
        cmocka_unit_test(finished_pictures_have_a_largest_size),
        cmocka_unit_test(a_strength_without_a_step_is_refused),
        cmocka_unit_test(axes_clash_only_where_they_meet),
        cmocka_unit_test(sizes_are_checked_pair_by_pair),
        cmocka_unit_test(ranges_are_checked_at_every_value),
        cmocka_unit_test(a_hundred_million_tasks_are_checked_at_once),
        cmocka_unit_test(axes_too_large_to_decide_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
