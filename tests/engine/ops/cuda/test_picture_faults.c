/*
 * Every CUDA call of loading a model and of rendering with it fails once, in a copy of the process
 * (tests/gpusim/control.h): each ends the picture with an error of its class that names the call,
 * leaves nothing allocated, or leaves the picture as it is.
 */
#include "engine/engine.h"
#include "tests/engine/cases.h"
#include "tests/engine/ops/cuda/faults.h"

#define SIDE     64
#define SIDE_MAX 96
#define LEAKS    64 /* of so many copies one looks for leaks of the host's memory */

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* What is rendered; all of the small reference model of SD 1. */
struct scene {
    const char *name;
    const char *prompt;
    bool loads; /* calls of loading fail too: they are the same for all scenes */
    int n;      /* pictures of the batch */
    int n_steps;
    bool paints, masked; /* from a picture */
    double hires;        /* scale */
    enum upscaler upscaler;
    int tile;
};

static uint8_t grey[SIDE * SIDE * 3], mask[SIDE * SIDE];

static struct render render_of(const struct scene *s, int i)
{
    struct render r = {.prompt = s->prompt,
                       .negative_prompt = "",
                       .sampler = SAMPLER_EULER_A,
                       .steps = s->n_steps,
                       .width = SIDE,
                       .height = SIDE,
                       .cfg_scale = 5,
                       .seed = 7 + i,
                       .rng = i % 2 == 0 ? RNG_NV : RNG_CPU,
                       .denoising_strength = 0.7,
                       .vae_tile = s->tile};

    if (s->paints)
        r.init = (struct picture_in){SIDE, SIDE, grey};
    if (s->masked)
        r.inpaint = (struct inpaint){.mask = {SIDE, SIDE, mask}, .blur = 2};
    if (s->hires > 0)
        r.hires = (struct hires){.scale = s->hires, .upscaler = s->upscaler};
    return r;
}

/* The last picture of a batch as it is without failures, and calls until it was there. */
static struct {
    uint8_t pixels[SIDE_MAX * SIDE_MAX * 3];
    size_t n_bytes;
    uint64_t n_calls;
} want;

static int open_engine(struct engine **ret_g, struct err *e)
{
    static const char *const folders[] = {GOLDEN_DIR "/lora", NULL};

    return engine_open(&(struct engine_options){.model = GOLDEN_DIR "/models/sd1",
                                                .lora_folders = folders,
                                                .backend = BACKEND_CUDA,
                                                .precision = PRECISION_F16,
                                                .threads = 1},
                       ret_g, e);
}

/* Of all scenes that do not load. */
static struct engine *shared;

static bool is_wanted(const struct image *image)
{
    size_t n_bytes = (size_t)image->width * (size_t)image->height * 3;

    if (want.n_bytes == 0 && n_bytes <= sizeof want.pixels) {
        want.n_bytes = n_bytes;
        memcpy(want.pixels, image->pixels, n_bytes);
    }
    return n_bytes == want.n_bytes && memcmp(want.pixels, image->pixels, n_bytes) == 0;
}

/* LITHO_FAULT_CALLS=FIRST-LAST: of those calls alone, so that a long sweep has parts. */
static void copy_at_each(enum gpusim_fault fault, int every)
{
    const char *s = getenv("LITHO_FAULT_CALLS");
    unsigned long first = 1, last = UINT32_MAX;

    if (s != NULL && sscanf(s, "%lu-%lu", &first, &last) != 2)
        fail_msg("LITHO_FAULT_CALLS=%s is not FIRST-LAST", s);
    sim->fork_each(fault, (uint64_t)every, first, last);
}

/* Renders; with `fault` every `every`th call fails, in a copy. What a copy has is let go of. */
static int use(const struct scene *s, enum gpusim_fault fault, int every, bool *ret_same,
               struct err *e)
{
    const struct render r[2] = {render_of(s, 0), render_of(s, 1)}, *all[] = {&r[0], &r[1]};
    struct image images[2] = {0};
    struct engine *g = NULL;
    int rc = 0;

    if (!s->loads && shared == NULL)
        TRY(open_engine(&shared, e));
    copy_at_each(fault, every);
    if (s->loads)
        TRY(open_engine(&g, e));
    TRY(engine_render(s->loads ? g : shared, all, (size_t)s->n, images, e));
    want.n_calls = sim->counts().calls;
    *ret_same = is_wanted(&images[s->n - 1]);
out:
    for (int i = 0; i < 2; i++)
        image_done(&images[i]);
    engine_close(g);
    if (sim->is_copy())
        engine_close(shared);
    return rc;
}

/*
 * Whether a failure was told as it should be. A trial without memory is made up for by calls one by
 * one, with the same bytes; a wait before memory is freed has nobody to tell, and the free waits
 * too.
 */
static bool is_right(enum gpusim_fault fault, int rc, bool same, const struct err *e)
{
    static const int codes[] = {[GPUSIM_FAIL_ANY] = ERR_INTERNAL,
                                [GPUSIM_FAIL_MEMORY] = ERR_OOM,
                                [GPUSIM_FAIL_DEVICE] = ERR_DEVICE};
    bool may_survive = fault == GPUSIM_FAIL_MEMORY || begins(sim->failed(), "cudaStreamSync") ||
                       sim->counts().failed_at > want.n_calls;

    return rc == 0 ? may_survive && same : rc == codes[fault] && is_told(e);
}

static _Noreturn void end_copy(enum gpusim_fault fault, int rc, bool same, const struct err *e)
{
    struct gpusim_counts c = sim->counts();
    bool right = is_right(fault, rc, same, e), clean = nothing_is_left();

    if (!right || !clean)
        fprintf(stderr, "call %d, '%s', failed: %d, %s; %zu bytes left\n", (int)c.failed_at,
                sim->failed(), rc,
                rc != 0 ? e->text
                : same  ? "as if nothing were"
                        : "with another picture",
                c.device_bytes + c.pinned_bytes);
    if (c.failed_at % LEAKS == 0 && __lsan_do_recoverable_leak_check != NULL)
        clean &= __lsan_do_recoverable_leak_check() == 0;
    _exit(right && clean ? 0 : 1);
}

/* Every one of them: LITHO_FAULT_STRIDE=1. */
static int stride(int usual)
{
    const char *s = getenv("LITHO_FAULT_STRIDE");

    return s != NULL ? (int)strtol(s, NULL, 10) : usual;
}

static void sweep(const struct scene *s)
{
    static const struct {
        enum gpusim_fault fault;
        const char *name;
        int stride, stride_loading;
    } kinds[] = {{GPUSIM_FAIL_ANY, "fail", 97, 499},
                 {GPUSIM_FAIL_MEMORY, "find no memory", 7, 199},
                 {GPUSIM_FAIL_DEVICE, "find the device dead", 211, 1999}};
    struct gpusim_counts c;
    struct err e = {0};
    bool same = false;

    want.n_bytes = 0;
    want.n_calls = UINT64_MAX;
    if (use(s, GPUSIM_FAIL_NONE, 1, &same, &e) != 0)
        fail_msg("%s", e.text);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int every = stride(s->loads ? kinds[i].stride_loading : kinds[i].stride), rc;

        want.n_calls = UINT64_MAX;
        rc = use(s, kinds[i].fault, every, &same, &e);
        if (sim->is_copy())
            end_copy(kinds[i].fault, rc, same, &e);
        c = sim->counts();
        sim->plan(GPUSIM_FAIL_NONE, 0);
        print_message("  %s: %d of %d calls %s\n", s->name, (int)c.copies,
                      (int)(kinds[i].fault == GPUSIM_FAIL_MEMORY ? c.memory_calls : c.calls),
                      kinds[i].name);
        assert_int_equal(rc, 0);
        assert_true(same);
        assert_true(c.copies > 0 || getenv("LITHO_FAULT_CALLS") != NULL);
        assert_int_equal(c.wrong, 0);
    }
}

static void loading_and_a_picture_from_text(void **state)
{
    (void)state;
    sweep(&(struct scene){"txt2img", "a lighthouse", .loads = true, .n = 1, .n_steps = 3});
}

static void a_batch_of_two(void **state)
{
    (void)state;
    sweep(&(struct scene){"batch", "a lighthouse", .n = 2, .n_steps = 1});
}

static void a_picture_from_a_picture(void **state)
{
    (void)state;
    sweep(&(struct scene){"img2img", "a lighthouse", .n = 1, .n_steps = 2, .paints = true});
}

static void a_picture_repainted_under_a_mask(void **state)
{
    (void)state;
    sweep(&(struct scene){"inpaint", "a lighthouse", .n = 1, .n_steps = 2, .paints = true,
                          .masked = true});
}

static void a_second_pass_from_the_latent(void **state)
{
    (void)state;
    sweep(&(struct scene){"hires latent", "a lighthouse", .n = 1, .n_steps = 2, .hires = 1.5,
                          .upscaler = UPSCALER_LATENT});
}

static void a_second_pass_from_the_picture_in_tiles(void **state)
{
    (void)state;
    sweep(&(struct scene){"hires lanczos, tiles", "a lighthouse", .n = 1, .n_steps = 2,
                          .hires = 1.5, .upscaler = UPSCALER_LANCZOS, .tile = 64});
}

static void a_picture_with_a_lora(void **state)
{
    (void)state;
    sweep(&(struct scene){"lora", "a lighthouse <lora:lora:0.8>", .n = 1, .n_steps = 2});
}

static int close_shared(void **state)
{
    (void)state;
    engine_close(shared);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_and_a_picture_from_text),
        cmocka_unit_test(a_batch_of_two),
        cmocka_unit_test(a_picture_from_a_picture),
        cmocka_unit_test(a_picture_repainted_under_a_mask),
        cmocka_unit_test(a_second_pass_from_the_latent),
        cmocka_unit_test(a_second_pass_from_the_picture_in_tiles),
        cmocka_unit_test(a_picture_with_a_lora),
    };
    int missing = find_control();

    for (int i = 0; i < SIDE * SIDE; i++) {
        memset(grey + 3 * i, i / SIDE * 4, 3);
        mask[i] = i % SIDE < SIDE / 2 ? 255 : 0;
    }
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, close_shared);
}
