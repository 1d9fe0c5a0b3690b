/*
 * Recorded float32 pictures against the same in bf16: at least 35 dB, whichever of the machine's
 * instruction sets computes them.
 */
#include "engine/ops/cpu/cpu.h"
#include "tests/engine/cases.h"

#define PSNR_LEAST 35.0

/* The lowest of a folder's cases, every `stride`-th of them. */
static double lowest_psnr(struct ops *o, const char *images, size_t stride)
{
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    double lowest = INFINITY;
    struct model *m = NULL;
    json_t *cases = NULL;

    snprintf(folder, sizeof folder, GOLDEN_DIR "/models/%s", images);
    assert_ok(open_model(folder, o, &m, e));
    snprintf(folder, sizeof folder, GOLDEN_DIR "/images/%s", images);
    snprintf(path, sizeof path, "%s/cases.json", folder);
    assert_ok(json_read_file(path, &cases, e));
    for (size_t i = 0; i < json_array_size(cases); i += stride) {
        const json_t *c = json_array_get(cases, i);
        struct render r = case_render(folder, c);
        struct image image = render_planned(m, &r, NULL);
        double db;

        snprintf(path, sizeof path, "%s/%s.png", folder, case_text(c, "name"));
        db = psnr(&image, path);
        print_message("%s %s %s: %.1f dB\n", o->device_class, images, case_text(c, "name"), db);
        lowest = fmin(lowest, db);
        image_done(&image);
        case_done(&r);
    }
    json_decref(cases);
    model_close(m);
    return lowest;
}

static bool machine_has_bf16(void)
{
    if (level_of_machine() >= LEVEL_AVX512_BF16)
        return true;
    print_message("this processor has no bf16: not tested here\n");
    return false;
}

static void every_recorded_picture_is_kept_within_35_decibels(void **state)
{
    static const char *const images[] = {"sd1", "sd2", "inpaint", "sdxl"};

    (void)state;
    if (!machine_has_bf16())
        skip();
    for (int level = LEVEL_AVX512_BF16; level <= (int)level_of_machine(); level++)
        for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
            /* All on the processor's own level, some on the one below it. */
            size_t stride = level == (int)level_of_machine() ? 1 : 3;
            struct ops *o = NULL;

            assert_ok(cpu_new((enum cpu_level)level, PRECISION_BF16, 2, &o, e));
            assert_int_equal(o->precision, PRECISION_BF16);
            assert_true(lowest_psnr(o, images[i], stride) >= PSNR_LEAST);
            o->free(o);
        }
}

/* The backend's own attention, behind the one that is wrong. */
static int (*own_attention)(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                            const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                            int head_dim, float scale, bool causal, struct err *e);

static int flat_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                          const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                          int head_dim, float scale, bool causal, struct err *e)
{
    return own_attention(o, y, q, k, v, n, tq, tk, heads, head_dim, 0.7f * scale, causal, e);
}

static void a_fault_in_attention_falls_below_35_decibels(void **state)
{
    struct ops *o = NULL;

    (void)state;
    if (!machine_has_bf16())
        skip();
    assert_ok(ops_cpu_new(2, PRECISION_BF16, &o, e));
    own_attention = o->attention;
    o->attention = flat_attention;
    assert_true(lowest_psnr(o, "sd1", 7) < PSNR_LEAST);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_picture_is_kept_within_35_decibels),
        cmocka_unit_test(a_fault_in_attention_falls_below_35_decibels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
