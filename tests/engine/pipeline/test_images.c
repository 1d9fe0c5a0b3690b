/* Whole pipelines equal diffusers: the final latent, which shows what 8 bits hide, and the picture.
 */
#include "tests/engine/cases.h"

static void pictures_of_sd1_equal_diffusers(void **state)
{
    (void)state;
    check_cases("sd1", "sd1", "inpaint-ddim-0.6", 20);
}

static void pictures_of_sd2_equal_diffusers(void **state)
{
    (void)state;
    check_cases("sd2", "sd2", "img2img-euler-0.3", 20);
}

static void pictures_of_nine_channels_equal_diffusers(void **state)
{
    (void)state;
    check_cases("inpaint", "inpaint", "inpaint-ddim-0.6", 3);
}

static void pictures_of_sdxl_equal_diffusers(void **state)
{
    (void)state;
    check_cases("sdxl", "sdxl", "txt2img-no-guidance", 7);
}

static void pictures_of_the_web_uis_prompts_equal_it(void **state)
{
    (void)state;
    check_cases("sd1", "a1111", NULL, 8);
}

/* Pipelines put together from diffusers' and the web UI's parts, as golden/README.md says. */
static void everything_else_of_sd1_equals_its_parts(void **state)
{
    (void)state;
    check_cases("sd1", "more", NULL, 30);
}

static void nine_channels_without_a_mask_repaint_everything(void **state)
{
    (void)state;
    check_cases("inpaint", "more", NULL, 30);
}

static void sdxl_from_pictures_equals_diffusers(void **state)
{
    (void)state;
    check_cases("sdxl", "more", NULL, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_of_sd1_equal_diffusers),
        cmocka_unit_test(pictures_of_sd2_equal_diffusers),
        cmocka_unit_test(pictures_of_nine_channels_equal_diffusers),
        cmocka_unit_test(pictures_of_sdxl_equal_diffusers),
        cmocka_unit_test(pictures_of_the_web_uis_prompts_equal_it),
        cmocka_unit_test(everything_else_of_sd1_equals_its_parts),
        cmocka_unit_test(nine_channels_without_a_mask_repaint_everything),
        cmocka_unit_test(sdxl_from_pictures_equals_diffusers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
