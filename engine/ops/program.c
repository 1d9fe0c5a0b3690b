#include "engine/ops/program.h"

#define STEP_LANES 16
#include "engine/ops/step_math.h"

#include <assert.h>

static struct value emit(struct program *p, struct instruction i)
{
    assert(p->n < PROGRAM_MAX);
    p->at[p->n] = i;
    return (struct value){(uint8_t)p->n++};
}

static struct value emit_two(struct program *p, enum program_op op, struct value a, struct value b)
{
    return emit(p, (struct instruction){.op = (uint8_t)op, .a = a.at, .b = b.at});
}

struct value program_number(struct program *p, float x)
{
    return emit(p, (struct instruction){.op = PROGRAM_NUMBER, .number = x});
}

struct value program_array(struct program *p, int array)
{
    assert(array < PROGRAM_ARRAYS);
    return emit(p, (struct instruction){.op = PROGRAM_ARRAY, .a = (uint8_t)array});
}

struct value program_model(struct program *p)
{
    return emit(p, (struct instruction){.op = PROGRAM_MODEL});
}

struct value program_add(struct program *p, struct value a, struct value b)
{
    return emit_two(p, PROGRAM_ADD, a, b);
}

struct value program_sub(struct program *p, struct value a, struct value b)
{
    return emit_two(p, PROGRAM_SUB, a, b);
}

struct value program_mul(struct program *p, struct value a, struct value b)
{
    return emit_two(p, PROGRAM_MUL, a, b);
}

struct value program_div(struct program *p, struct value a, struct value b)
{
    return emit_two(p, PROGRAM_DIV, a, b);
}

struct value program_scale(struct program *p, struct value a, float by)
{
    return program_mul(p, a, program_number(p, by));
}

struct value program_over(struct program *p, struct value a, float by)
{
    return program_div(p, a, program_number(p, by));
}

struct value program_clip(struct program *p, struct value a, float range)
{
    return emit(p, (struct instruction){.op = PROGRAM_CLIP, .a = a.at, .number = range});
}

struct value program_select(struct program *p, struct value mask, struct value b, struct value c)
{
    return emit(p, (struct instruction){.op = PROGRAM_SELECT, .a = mask.at, .b = b.at, .c = c.at});
}

void program_store(struct program *p, int array, struct value a)
{
    assert(array < PROGRAM_ARRAYS);
    emit(p, (struct instruction){.op = PROGRAM_STORE, .a = (uint8_t)array, .b = a.at});
}

void program_apply(const struct program *p, float *const arrays[PROGRAM_ARRAYS], int64_t first,
                   int64_t n, const float *model)
{
    float values[PROGRAM_MAX][STEP_LANES];

    for (int64_t i = 0; i < n; i += STEP_LANES)
        program_run(p, arrays, first + i, n - i < STEP_LANES ? (int)(n - i) : STEP_LANES, model + i,
                    values);
}
