#include "engine/weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = BINARY_DIR "/weights-XXXXXX";

static int make_file(void **state)
{
    int file = mkstemp(path);

    (void)state;
    return file < 0 ? -1 : close(file);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_bytes(const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* A file of this header, its length in front, and n_data bytes 0, 1, 2, ... */
static void write_file(const char *header, size_t n_data)
{
    size_t n = strlen(header);
    unsigned char *bytes = malloc(8 + n + n_data);

    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n >> 8 * i);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (unsigned char)i;
    write_bytes(bytes, 8 + n + n_data);
    free(bytes);
}

/* The error of opening must hold the file's path and this text. */
static void refused(const char *text)
{
    struct weights *w = NULL;
    struct err e = {0};

    assert_int_equal(weights_open(path, &w, &e), ERR_INPUT);
    assert_null(w);
    if (!strstr(e.text, path) || !strstr(e.text, text))
        fail_msg("'%s' does not hold '%s'", e.text, text);
}

#define TWO                                                                                        \
    "{\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"                            \
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"                            \
    "\"__metadata__\":{\"format\":\"pt\"}}   "

static void tensors_are_found_by_name_and_listed_in_order_of_data(void **state)
{
    struct weights *w = NULL;
    struct tensor t;
    struct err e;

    (void)state;
    write_file(TWO, 12);
    assert_int_equal(weights_open(path, &w, &e), 0);
    assert_string_equal(weights_path(w), path);
    assert_int_equal(weights_count(w), 2);
    assert_string_equal(weights_name(w, 0), "a");
    assert_string_equal(weights_name(w, 1), "b");
    assert_int_equal(weights_get(w, "b", 1, (int64_t[]){2}, &t, &e), 0);
    assert_int_equal(t.dtype, DTYPE_F16);
    assert_memory_equal(t.data, ((unsigned char[]){8, 9, 10, 11}), 4);
    assert_true(weights_find(w, "a", &t));
    assert_true(t.rank == 2 && t.shape[0] == 2 && t.shape[1] == 1);
    assert_false(weights_find(w, "c", &t));
    assert_false(weights_find(w, "__metadata__", &t));
    weights_close(w);
}

static void a_missing_tensor_or_a_wrong_shape_names_file_and_tensor(void **state)
{
    struct weights *w = NULL;
    struct tensor t;
    struct err e;

    (void)state;
    write_file(TWO, 12);
    assert_int_equal(weights_open(path, &w, &e), 0);
    assert_int_equal(weights_get(w, "conv_in.weight", 1, (int64_t[]){2}, &t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, path));
    assert_non_null(strstr(e.text, "'conv_in.weight' is missing"));
    assert_int_equal(weights_get(w, "a", 2, (int64_t[]){1, 2}, &t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "'a' has shape [2, 1]"));
    assert_non_null(strstr(e.text, "[1, 2]"));
    assert_int_equal(weights_get(w, "a", 1, (int64_t[]){2}, &t, &e), ERR_INPUT);
    weights_close(w);
}

static void unknown_types_and_ranks_are_refused_only_when_asked_for(void **state)
{
    struct weights *w = NULL;
    struct tensor t;
    struct err e;

    (void)state;
    write_file("{\"new\":{\"dtype\":\"F4_X\",\"shape\":[9],\"data_offsets\":[0,5]},"
               "\"deep\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1],\"data_offsets\":[5,9]},"
               "\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[9,17]},"
               "\"none\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[17,17]}}",
               17);
    assert_int_equal(weights_open(path, &w, &e), 0);
    assert_false(weights_find(w, "new", &t));
    assert_false(weights_find(w, "deep", &t));
    assert_true(weights_find(w, "ids", &t));
    assert_int_equal(weights_get(w, "new", 1, (int64_t[]){9}, &t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "F4_X"));
    assert_int_equal(weights_get(w, "ids", 1, (int64_t[]){1}, &t, &e), ERR_INPUT);
    assert_int_equal(weights_get(w, "none", 2, (int64_t[]){0, 3}, &t, &e), 0);
    weights_close(w);
}

static void a_truncated_file_is_refused_whatever_is_missing(void **state)
{
    (void)state;
    write_bytes("", 0);
    refused("too short");
    write_bytes("\x10\0\0\0\0\0\0", 7);
    refused("too short");
    write_bytes("\x10\0\0\0\0\0\0\0{}", 10);
    refused("truncated: header of 16 bytes");
    write_file(TWO, 11);
    refused("truncated: tensor 'b' ends at byte 12 of the data, past its size 11");
}

static void a_huge_header_and_garbage_are_refused(void **state)
{
    (void)state;
    write_bytes("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    refused("header of 18446744073709551615 bytes");
    write_bytes("\1\0\0\x10\0\0\0\0{}", 10);
    refused("the limit is");
    write_file("\x80\xff garbage", 4);
    refused(":1:");
    write_file("[1, 2]", 0);
    refused("no JSON object");
    write_file("", 0);
    refused(":");
}

static void json_nested_ten_thousand_deep_is_refused(void **state)
{
    char *deep = malloc(20001);

    (void)state;
    assert_non_null(deep);
    memset(deep, '[', 20000);
    deep[20000] = 0;
    write_file(deep, 0);
    free(deep);
    refused("depth");
}

static void every_broken_entry_names_its_tensor(void **state)
{
    static const char *const cases[][2] = {
        {"{\"x\":1}", "no JSON object"},
        {"{\"x\":{}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", "before they begin"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}",
         "past its size 4"},
        {"{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", "dtype"},
        {"{\"x\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", "dtype"},
        {"{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", "shape"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "whole numbers"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", "whole numbers"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "another size"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}",
         "more than any file"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}",
         "more than any file"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(cases[i][0], 4);
        refused("'x'");
        refused(cases[i][1]);
    }
}

static void holes_overlaps_and_bytes_of_no_tensor_are_refused(void **state)
{
    (void)state;
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
               "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
               5);
    refused("'b' begins at byte 3 of the data, leaving a hole after 2");
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
               "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
               3);
    refused("overlapping");
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3);
    refused("3 bytes of data, the tensors cover 2");
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3);
    refused("leaving a hole after 0");
}

static void a_name_given_twice_is_refused(void **state)
{
    (void)state;
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
               "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
               0);
    refused("duplicate");
}

static void folders_pipes_and_missing_files_are_told_apart(void **state)
{
    char pipe_path[sizeof path + 5];
    struct weights *w = NULL;
    struct err e;

    (void)state;
    assert_int_equal(weights_open("/nowhere/model.safetensors", &w, &e), ERR_MISSING);
    assert_non_null(strstr(e.text, "/nowhere/model.safetensors"));
    assert_int_equal(weights_open("/", &w, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "not a regular file"));
    snprintf(pipe_path, sizeof pipe_path, "%s-pipe", path);
    assert_int_equal(mkfifo(pipe_path, 0600), 0); /* which nobody ever writes to */
    assert_int_equal(weights_open(pipe_path, &w, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "not a regular file"));
    unlink(pipe_path);
}

/* Under AddressSanitizer a view past the mapping's page would be fatal: reads every byte. */
static unsigned read_all(const struct weights *w)
{
    unsigned sum = 0;
    struct tensor t;

    for (size_t i = 0; i < weights_count(w); i++)
        if (weights_find(w, weights_name(w, i), &t))
            for (size_t k = 0; k < (size_t)tensor_count(&t) * dtype_size(t.dtype); k++)
                sum += ((const unsigned char *)t.data)[k];
    return sum;
}

static void random_changes_open_or_are_refused_and_never_read_outside(void **state)
{
    unsigned char bytes[8 + sizeof TWO - 1 + 12], changed[sizeof bytes];
    uint32_t seed = 1;
    int opened = 0;

    (void)state;
    memset(bytes, 0, sizeof bytes);
    bytes[0] = sizeof TWO - 1;
    memcpy(bytes + 8, TWO, sizeof TWO - 1);
    for (int i = 0; i < 500; i++) {
        struct weights *w = NULL;
        struct err e;

        memcpy(changed, bytes, sizeof bytes);
        for (int k = 0; k < 1 + i % 3; k++) {
            seed = seed * 1664525u + 1013904223u;
            changed[(seed >> 8) % sizeof bytes] = "0123456789[]{},:\"F\xff-"[(seed >> 24) % 21];
        }
        write_bytes(changed, sizeof bytes - (i % 5 == 0));
        if (weights_open(path, &w, &e) == 0) {
            opened++;
            read_all(w);
        } else {
            assert_non_null(strstr(e.text, path));
        }
        weights_close(w);
    }
    assert_in_range(opened, 1, 499);
}

static void the_shipped_model_opens(void **state)
{
    struct weights *w = NULL;
    struct tensor t;
    struct err e;

    (void)state;
    assert_int_equal(weights_open(SOURCE_DIR "/models/sticker-128/unet/"
                                             "diffusion_pytorch_model.safetensors",
                                  &w, &e),
                     0);
    assert_true(weights_count(w) > 600);
    assert_int_equal(weights_get(w, "conv_in.weight", 4, (int64_t[]){64, 4, 3, 3}, &t, &e), 0);
    weights_close(w);
    weights_close(NULL);
}

#define PACKED                                                                                     \
    "{\"packed\":{\"dtype\":\"U8\",\"shape\":[6,2],\"data_offsets\":[0,12]},"                      \
    "\"uneven\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[12,20]},"                       \
    "\"wide\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[20,32]},"                       \
    "\"halves\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[32,36]}}"

/* "a/i/n" is part i of n of a; "turned" is wide; "never" has no place. */
static bool place(const void *user, const char *name, struct weights_place *ret_place)
{
    size_t size = strcspn(name, "/");

    assert_string_equal(user, "given");
    if (strcmp(name, "never") == 0)
        return false;
    *ret_place = (struct weights_place){.parts = 1};
    snprintf(ret_place->name, sizeof ret_place->name, "%.*s", (int)size,
             strcmp(name, "turned") == 0 ? "wide" : name);
    if (name[size] == '/') {
        ret_place->part = name[size + 1] - '0';
        ret_place->parts = name[size + 3] - '0';
    }
    return true;
}

static const char *const turned[] = {"turned", "not there", NULL};

static void a_view_renames_cuts_and_turns(void **state)
{
    struct weights_naming naming = {.place = place, .user = "given", .transposed = turned};
    struct weights *base = NULL, *w = NULL;
    struct tensor t;
    struct err e;

    (void)state;
    write_file(PACKED, 36);
    assert_int_equal(weights_open(path, &base, &e), 0);
    assert_int_equal(weights_view(base, &naming, &w, &e), 0);
    assert_string_equal(weights_path(w), path);
    assert_true(weights_find(w, "packed/1/3", &t));
    assert_true(t.rank == 2 && t.shape[0] == 2 && t.shape[1] == 2);
    assert_memory_equal(t.data, ((unsigned char[]){4, 5, 6, 7}), 4);
    assert_int_equal(weights_get(w, "halves/1/2", 1, (int64_t[]){1}, &t, &e), 0);
    assert_memory_equal(t.data, ((unsigned char[]){34, 35}), 2);
    assert_int_equal(weights_get(w, "turned", 2, (int64_t[]){3, 2}, &t, &e), 0);
    assert_memory_equal(t.data, ((unsigned char[]){20, 21, 26, 27, 22, 23, 28, 29, 24, 25, 30, 31}),
                        12);
    assert_int_equal(weights_get(w, "wide", 2, (int64_t[]){2, 3}, &t, &e), 0);
    assert_false(weights_find(w, "never", &t));
    assert_false(weights_find(w, "none", &t));
    assert_false(weights_find(w, "uneven/0/3", &t));
    weights_close(w);
    weights_close(base);
}

static void errors_of_a_view_name_what_the_file_has(void **state)
{
    struct weights_naming naming = {.place = place, .user = "given"};
    struct weights *base = NULL, *w = NULL;
    struct tensor t;
    struct err e;

    (void)state;
    write_file(PACKED, 36);
    assert_int_equal(weights_open(path, &base, &e), 0);
    assert_int_equal(weights_view(base, &naming, &w, &e), 0);
    assert_int_equal(weights_get(w, "none/0/3", 1, (int64_t[]){1}, &t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "'none' is missing"));
    assert_int_equal(weights_get(w, "never", 1, (int64_t[]){1}, &t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "'never' is missing"));
    assert_int_equal(weights_get(w, "uneven/0/3", 1, (int64_t[]){1}, &t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "'uneven' (part 1 of 3) has shape [4]"));
    assert_int_equal(weights_get(w, "turned", 2, (int64_t[]){3, 2}, &t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "'wide' has shape [2, 3]"));
    weights_close(w);
    weights_close(base);
}

static void pickles_are_told_by_bytes_or_name_and_safetensors_by_bytes(void **state)
{
    char other[sizeof path + 8];
    struct weights *w = NULL;
    struct err e;

    (void)state;
    write_bytes("PK\3\4\24\0\0\0\10\0\0\0", 12);
    refused("a pickle");
    write_bytes("\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20", 10);
    refused("a pickle");
    snprintf(other, sizeof other, "%s.ckpt", path);
    write_bytes("\x80\4", 2);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(weights_open(other, &w, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "a pickle"));
    write_file(TWO, 12);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(weights_open(other, &w, &e), 0);
    weights_close(w);
    assert_int_equal(rename(other, path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_by_name_and_listed_in_order_of_data),
        cmocka_unit_test(a_missing_tensor_or_a_wrong_shape_names_file_and_tensor),
        cmocka_unit_test(unknown_types_and_ranks_are_refused_only_when_asked_for),
        cmocka_unit_test(a_truncated_file_is_refused_whatever_is_missing),
        cmocka_unit_test(a_huge_header_and_garbage_are_refused),
        cmocka_unit_test(json_nested_ten_thousand_deep_is_refused),
        cmocka_unit_test(every_broken_entry_names_its_tensor),
        cmocka_unit_test(holes_overlaps_and_bytes_of_no_tensor_are_refused),
        cmocka_unit_test(a_name_given_twice_is_refused),
        cmocka_unit_test(folders_pipes_and_missing_files_are_told_apart),
        cmocka_unit_test(random_changes_open_or_are_refused_and_never_read_outside),
        cmocka_unit_test(a_view_renames_cuts_and_turns),
        cmocka_unit_test(errors_of_a_view_name_what_the_file_has),
        cmocka_unit_test(pickles_are_told_by_bytes_or_name_and_safetensors_by_bytes),
        cmocka_unit_test(the_shipped_model_opens),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
