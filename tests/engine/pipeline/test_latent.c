/* Latents: plain arithmetic. */
#include "engine/pipeline/latent.h"
#include "tests/engine/nets.h"

static void masks_count_from_128_on_and_are_sampled_at_each_cells_corner(void **state)
{
    uint8_t mask[8 * 16];
    float got[2];

    (void)state;
    memset(mask, 255, sizeof mask);
    mask[0] = 127;
    mask[8] = 128;
    assert_true(latent_mask(got, 1, 2, mask, 8, 16));
    assert_true(got[0] == 0 && got[1] == 1);
    mask[8] = 0;
    assert_false(latent_mask(got, 1, 2, mask, 8, 16));
}

static void a_latent_enlarged_to_its_own_size_is_itself(void **state)
{
    const struct latent_window all = {3, 5, 0, 0}, part = {3, 5, 1, 2};
    float x[3 * 5 * 2], got[3 * 5 * 2];

    (void)state;
    for (int i = 0; i < 30; i++)
        x[i] = (float)(i * i) * 0.37f;
    for (int bilinear = 0; bilinear < 2; bilinear++) {
        latent_enlarge(got, 3, 5, x, 3, 5, 2, &all, bilinear != 0);
        assert_memory_equal(got, x, sizeof x);
        latent_enlarge(got, 1, 2, x, 3, 5, 2, &part, bilinear != 0);
        assert_memory_equal(got, x + (1 * 5 + 2) * 2, 4 * sizeof *x);
    }
}

static void variances_are_clamped_as_the_encoder_of_diffusers_has_them(void **state)
{
    const struct vae_config c = {.latent_channels = 1, .scaling_factor = 0.5, .shift_factor = 1};
    const float moments[6] = {1, -1000, 3, 1000, 2, 0}, noise[3] = {1, 1, -2};
    float got[3];

    (void)state;
    latent_from_moments(got, moments, noise, 3, &c);
    assert_float_equal(got[0], 0.5 * exp(-15), 5e-8);
    assert_float_equal(got[1], 0.5 * (exp(10) + 2), 1e-2);
    assert_float_equal(got[2], -0.5, 1e-7);
    latent_for_vae(got, 3, &c);
    assert_float_equal(got[2], 0, 1e-7);
}

static void pixels_go_to_floats_and_back(void **state)
{
    uint8_t pixels[256], back[256];
    float values[256];

    (void)state;
    for (int i = 0; i < 256; i++)
        pixels[i] = (uint8_t)i;
    floats_from_pixels(values, pixels, 256);
    assert_true(values[0] == -1 && values[255] == 1);
    assert_true(pixels_from_floats(back, values, 256));
    assert_memory_equal(pixels, back, 256);
    values[0] = -7;
    assert_false(pixels_from_floats(back, values, 1));
    values[0] = 9;
    assert_true(pixels_from_floats(back, values, 1) && back[0] == 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_count_from_128_on_and_are_sampled_at_each_cells_corner),
        cmocka_unit_test(a_latent_enlarged_to_its_own_size_is_itself),
        cmocka_unit_test(variances_are_clamped_as_the_encoder_of_diffusers_has_them),
        cmocka_unit_test(pixels_go_to_floats_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
