/* Who holds what of a layer that is dealt, and who adds what: engine/networks/shard.h, layer.h. */
#include "tests/engine/nets.h"

#include "engine/gang/gang.h"

#define BLOCK    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"
#define CONV     "mid_block.resnets.0.conv2"
#define CHANNELS 128 /* of SD 2's middle here: two heads, 16 groups */
#define PIXELS   4

static struct range part_of(int64_t n, int64_t unit, int rank, int size)
{
    const struct ops o = {.shard = {.rank = rank, .size = size}};

    return shard_range(&o, n, unit);
}

static void parts_follow_each_other_and_make_the_whole(void **state)
{
    (void)state;
    for (int size = 1; size <= 16; size++)
        for (int64_t units = 1; units <= 40; units++) {
            int64_t at = 0;

            for (int rank = 0; rank < size; rank++) {
                struct range r = part_of(64 * units, 64, rank, size);

                assert_int_equal(r.begin, at);
                assert_int_equal(r.n % 64, 0);
                assert_in_range(r.n / 64, units / size, (units + size - 1) / size);
                at += r.n;
            }
            assert_int_equal(at, 64 * units);
        }
}

/* SD 2's levels have 5, 10 and 20 heads of 64 channels. */
static void of_what_does_not_divide_the_first_have_the_most(void **state)
{
    static const int64_t of_two[2][2] = {{0, 3}, {3, 2}},
                         of_four[4][2] = {{0, 2}, {2, 1}, {3, 1}, {4, 1}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(part_of(320, 64, i, 2).begin, 64 * of_two[i][0]);
        assert_int_equal(part_of(320, 64, i, 2).n, 64 * of_two[i][1]);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(part_of(320, 64, i, 4).begin, 64 * of_four[i][0]);
        assert_int_equal(part_of(320, 64, i, 4).n, 64 * of_four[i][1]);
    }
}

/* A layer cut by its inputs, of which a member holds its part. */
struct partial {
    struct ops *ops;
    struct linear_layer *linear; /* one of the two */
    struct conv_layer *conv;
    struct act *x, *y;
};

static int forward(void *user, struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1};
    const struct extent s = {1, 2, PIXELS / 2};
    struct partial *p = user;

    return p->linear != NULL ? linear_layer_partial(p->ops, p->y, p->x, p->linear, PIXELS, e)
                             : conv_layer_partial(p->ops, p->y, p->x, p->conv, &s, pad, e);
}

static struct act *filled(struct ops *o, float value)
{
    struct act *x = act_memory(o, PIXELS * CHANNELS);
    float values[PIXELS * CHANNELS];

    for (int i = 0; i < PIXELS * CHANNELS; i++)
        values[i] = value;
    assert_ok(o->put(o, x, values, PIXELS * CHANNELS, e));
    return x;
}

/* Of zeros, what a member gives is the bias: rank 0 gives it, the others nothing. */
static void assert_given_once(struct part *unet, bool conv, int64_t unit, int rank, int size)
{
    struct ops *o = backend_open(BACKEND_FAST);
    struct loader ld = {.ops = o, .weights = unet->source.weights};
    struct partial p = {.ops = o};
    float got[PIXELS * CHANNELS], *bias;
    struct tensor t;
    struct cut cut;

    o->shard = (struct shard){.rank = rank, .size = size};
    cut = cut_inputs(CHANNELS, CHANNELS, shard_range(o, CHANNELS, unit));
    if (conv)
        p.conv = loader_conv_part(&ld, &cut, 3, CONV);
    else
        p.linear = loader_linear_part(&ld, &cut, true, BLOCK);
    assert_int_equal(ld.rc, 0);
    bias = golden_floats(unet->source.weights, conv ? CONV ".bias" : BLOCK ".bias", &t);
    p.x = filled(o, 0);
    p.y = filled(o, 7);
    run_planned(o, forward, &p);
    assert_ok(o->get(o, got, p.y, PIXELS * CHANNELS, e));
    for (int i = 0; i < PIXELS * CHANNELS; i++)
        if (got[i] != (rank == 0 ? bias[i % CHANNELS] : 0))
            fail_msg("member %d of %d gives %g at %d", rank, size, (double)got[i], i);
    free(bias);
    linear_layer_free(o, p.linear);
    conv_layer_free(o, p.conv);
    o->memory_free(o, p.x);
    o->memory_free(o, p.y);
    o->free(o);
}

static void the_bias_comes_from_rank_0_alone(void **state)
{
    struct part unet = golden_part("sd2", "unet");

    (void)state;
    for (int size = 1; size <= 4; size += size) /* of four two have no head */
        for (int rank = 0; rank < size; rank++) {
            assert_given_once(&unet, false, CHANNELS / 2, rank, size);
            assert_given_once(&unet, true, CHANNELS / 16, rank, size);
        }
    part_close(&unet);
}

/* As if the others had given as much each. */
static int all_alike(struct gang *g, void *x, int64_t n, enum gang_number number, struct err *e)
{
    (void)e;
    assert_int_equal(number, GANG_F32);
    for (int64_t i = 0; i < n; i++)
        ((float *)x)[i] *= (float)g->size;
    return 0;
}

/* Rounded with one member's part, the residual would be rounded again with the sum. */
static void the_residual_is_added_to_the_sum_by_every_member(void **state)
{
    struct gang gang = {.size = 2, .all_reduce = all_alike};
    struct ops *o = backend_open(BACKEND_FAST);
    struct act *x = filled(o, 0.5f), *part = filled(o, 3);
    float got[PIXELS * CHANNELS];

    (void)state;
    for (int rank = 0; rank < 2; rank++) {
        assert_ok(o->put(o, part, (const float[]){3}, 1, e));
        o->shard = (struct shard){.rank = rank, .size = 2, .gang = &gang};
        assert_ok(shard_add(o, part, x, part, 1, e));
        assert_ok(o->get(o, got, part, 1, e));
        assert_true(got[0] == 6.5f);
    }
    o->memory_free(o, x);
    o->memory_free(o, part);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_follow_each_other_and_make_the_whole),
        cmocka_unit_test(of_what_does_not_divide_the_first_have_the_most),
        cmocka_unit_test(the_bias_comes_from_rank_0_alone),
        cmocka_unit_test(the_residual_is_added_to_the_sum_by_every_member),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
