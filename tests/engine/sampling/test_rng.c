/* torch's CPU generator and CUDA's: every recorded case of tests/golden/noise and a1111/philox. */
#include "engine/sampling/rng.h"
#include "engine/weights/weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOISE_MAX        16384
#define TOLERANCE        1e-6 /* absolute */
#define PHILOX_TOLERANCE 2e-6

static float noise[NOISE_MAX];

static struct weights *open_golden(const char *path)
{
    struct weights *w;
    struct err e;

    if (weights_open(path, &w, &e) != 0)
        fail_msg("%s", e.text);
    return w;
}

static void assert_close(const char *name, const float *got, const struct tensor *t,
                         double tolerance)
{
    int64_t n = tensor_count(t);
    float want[4096];

    assert_true(n > 0 && n <= 4096);
    tensor_to_f32(t, want);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance))
            fail_msg("%s[%d]: %.9g, torch has %.9g", name, (int)i, (double)got[i], (double)want[i]);
}

static void every_recorded_seed_and_length_gives_torchs_numbers(void **state)
{
    struct weights *w = open_golden(GOLDEN_DIR "/noise/torch_cpu.safetensors");
    int checked = 0;

    (void)state;
    for (size_t i = 0; i < weights_count(w); i++) {
        const char *name = weights_name(w, i);
        struct torch_rng g;
        struct tensor t;
        unsigned long long seed;
        size_t n;

        if (sscanf(name, "%llu-%zu", &seed, &n) != 2)
            continue;
        assert_true(n <= NOISE_MAX);
        torch_rng_init(&g, seed);
        torch_rng_normal(&g, noise, n);
        assert_true(weights_find(w, name, &t));
        assert_int_equal(tensor_count(&t), n < 64 ? n : 64); /* the last ones are recorded */
        assert_close(name, noise + n - (size_t)tensor_count(&t), &t, TOLERANCE);
        checked++;
    }
    assert_int_equal(checked, 6 * 9);
    weights_close(w);
}

static void one_generator_continues_from_draw_to_draw(void **state)
{
    static const struct {
        const char *name;
        size_t n;
    } draws[] = {{"stream-a", 4 * 8 * 8}, {"stream-b", 4 * 3 * 5}, {"stream-c", 7}};
    struct weights *w = open_golden(GOLDEN_DIR "/noise/torch_cpu.safetensors");
    struct torch_rng g;
    struct tensor t;

    (void)state;
    torch_rng_init(&g, 7);
    for (size_t i = 0; i < 3; i++) {
        torch_rng_normal(&g, noise, draws[i].n);
        assert_true(weights_find(w, draws[i].name, &t));
        assert_int_equal(tensor_count(&t), draws[i].n);
        assert_close(draws[i].name, noise, &t, TOLERANCE);
    }
    weights_close(w);
}

static void seeds_are_taken_modulo_two_to_the_32(void **state)
{
    struct torch_rng a, b;
    float other[16];

    (void)state;
    torch_rng_init(&a, 5);
    torch_rng_init(&b, 5 + (7ull << 32));
    torch_rng_normal(&a, noise, 16);
    torch_rng_normal(&b, other, 16);
    assert_memory_equal(noise, other, sizeof other);
}

static void short_draws_use_both_numbers_of_a_pair(void **state)
{
    struct torch_rng a, b;
    float other[6];

    (void)state;
    torch_rng_init(&a, 1);
    torch_rng_init(&b, 1);
    torch_rng_normal(&a, noise, 6);
    for (int i = 0; i < 6; i++)
        torch_rng_normal(&b, other + i, 1);
    assert_memory_equal(noise, other, sizeof other);
}

static void philox_gives_the_web_uis_first_and_second_draw_of_every_recorded_seed(void **state)
{
    static const char *const draws[] = {"first", "second"};
    static const unsigned long long seeds[] = {0, 1, 12345, 4294967295};
    struct weights *w = open_golden(GOLDEN_DIR "/a1111/philox.safetensors");
    char name[64];

    (void)state;
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        struct philox g;

        philox_init(&g, seeds[i]);
        for (size_t k = 0; k < 2; k++) {
            struct tensor t;

            snprintf(name, sizeof name, "%llu.%s", seeds[i], draws[k]);
            assert_true(weights_find(w, name, &t));
            philox_normal(&g, noise, (size_t)tensor_count(&t));
            assert_close(name, noise, &t, PHILOX_TOLERANCE);
        }
    }
    weights_close(w);
}

/* Known answer of Random123 (kat_vectors: philox4x32 10, counter and key all zero): the normal
 * number that its first two words, 6627e8d5 and e169c58d, make. */
static void philox_of_seed_zero_starts_with_random123s_known_answer(void **state)
{
    double u = (0x6627e8d5 + 0.5) * 0x1p-32, v = (0xe169c58d + 0.5) * 0x1p-32;
    struct philox g;

    (void)state;
    philox_init(&g, 0);
    philox_normal(&g, noise, 1);
    assert_float_equal(noise[0], sqrt(-2 * log(u)) * sin(2 * M_PI * v), 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_seed_and_length_gives_torchs_numbers),
        cmocka_unit_test(one_generator_continues_from_draw_to_draw),
        cmocka_unit_test(seeds_are_taken_modulo_two_to_the_32),
        cmocka_unit_test(short_draws_use_both_numbers_of_a_pair),
        cmocka_unit_test(philox_gives_the_web_uis_first_and_second_draw_of_every_recorded_seed),
        cmocka_unit_test(philox_of_seed_zero_starts_with_random123s_known_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
