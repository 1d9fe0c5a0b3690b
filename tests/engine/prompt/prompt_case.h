/* For tests of the prompt room: short ways to read a text and to say what is expected. */
#ifndef TESTS_ENGINE_PROMPT_PROMPT_CASE_H
#define TESTS_ENGINE_PROMPT_PROMPT_CASE_H

#include "engine/prompt/check.h"
#include "engine/prompt/edit.h"
#include "engine/prompt/split.h"
#include "engine/prompt/weighted.h"
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_read(call)                                                                          \
    do {                                                                                           \
        struct prompt_fault f_ = {0}, *f = &f_;                                                    \
        if ((call) != 0)                                                                           \
            fail_msg("byte %u: %s", f_.at, f_.text);                                               \
    } while (0)

/* The web UI's own results on 54 prompts: tests/golden/README.md, "a1111". */
static inline json_t *recorded_prompts(void)
{
    json_t *root = NULL;

    assert_int_equal(json_read_file(GOLDEN_DIR "/a1111/prompts.json", &root, NULL), 0);
    assert_int_equal(json_array_size(root), 54);
    return root;
}

static inline const char *json_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* Number i of a list, and its string. */
static inline double json_real_at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

static inline const char *json_text_at(const json_t *list, size_t i)
{
    return json_string_value(json_array_get(list, i));
}

/* times copies of one text; caller frees. */
static inline char *repeat(const char *text, size_t times)
{
    size_t size = strlen(text);
    char *all = malloc(size * times + 1);

    assert_non_null(all);
    for (size_t i = 0; i < times; i++)
        memcpy(all + i * size, text, size);
    all[size * times] = '\0';
    return all;
}

#endif
