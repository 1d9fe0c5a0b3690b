/*
 * A sampler's arithmetic as data, so that one code runs it on every backend: a list of float32
 * operations that each number of a latent goes through by itself. Results are values, numbered in
 * order; nothing is rounded otherwise than the formula says, nothing is fused, so the host and a
 * device agree to the bit.
 *
 *     struct program p = {0};
 *     struct value x = program_array(&p, ARRAY_X), y = program_model(&p);
 *     program_store(&p, ARRAY_X, program_add(&p, x, program_scale(&p, y, -0.5f)));
 *
 * Plain data; C++ and kernels read it too (step_math.h runs it). A program that would pass
 * PROGRAM_MAX is a bug of its author: assert.
 */
#ifndef ENGINE_OPS_PROGRAM_H
#define ENGINE_OPS_PROGRAM_H

#include <stdint.h>

#define PROGRAM_MAX    128 /* values */
#define PROGRAM_ARRAYS 11

/* The arrays of a step, [n, pixels, channels] each; ARRAY_KEPT and on: what a sampler remembers. */
enum program_array {
    ARRAY_X,     /* the latents */
    ARRAY_NOISE, /* the step's normal numbers */
    ARRAY_CLEAN, /* inpainting: initial latents */
    ARRAY_START, /* their noise */
    ARRAY_MASK,  /* 1: repainted, 0: kept; for every channel */
    ARRAY_KEPT
};

enum program_op {
    PROGRAM_NUMBER, /* number */
    PROGRAM_ARRAY,  /* of array a */
    PROGRAM_MODEL,  /* the model's answer, guided */
    PROGRAM_ADD,    /* a + b */
    PROGRAM_SUB,
    PROGRAM_MUL,
    PROGRAM_DIV,
    PROGRAM_CLIP,   /* a, or the end of -number..number that it is beyond; NaN stays */
    PROGRAM_SELECT, /* a != 0 ? b : c */
    PROGRAM_STORE   /* b into array a; no value */
};

struct instruction {
    uint8_t op, a, b, c; /* operands: earlier values, or an array */
    float number;
};

struct program {
    int32_t n;
    struct instruction at[PROGRAM_MAX];
};

#ifndef __cplusplus
/* The result of an instruction. */
struct value {
    uint8_t at;
};

struct value program_number(struct program *p, float x);
struct value program_array(struct program *p, int array);
struct value program_model(struct program *p);
struct value program_add(struct program *p, struct value a, struct value b);
struct value program_sub(struct program *p, struct value a, struct value b);
struct value program_mul(struct program *p, struct value a, struct value b);
struct value program_div(struct program *p, struct value a, struct value b);
struct value program_scale(struct program *p, struct value a, float by); /* a * by */
struct value program_over(struct program *p, struct value a, float by);  /* a / by */
struct value program_clip(struct program *p, struct value a, float range);
struct value program_select(struct program *p, struct value mask, struct value b, struct value c);
void program_store(struct program *p, int array, struct value a);

/*
 * Runs it on the host over numbers first..first + n - 1 of the arrays (NULL where the program has
 * no use for one). model: [n], the model's answers for those numbers.
 */
void program_apply(const struct program *p, float *const arrays[PROGRAM_ARRAYS], int64_t first,
                   int64_t n, const float *model);
#endif

#endif
