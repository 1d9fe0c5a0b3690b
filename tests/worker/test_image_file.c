/* Pictures from files: equal to Pillow's pixels, and refused with a name when they are not whole.
 */
#include "worker/image_file.h"

#include "engine/weights/weights.h"
#include "proto/buf.h"
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <unistd.h>

static json_t *names;
static struct weights *arrays;

static void read_picture(const char *name, struct buf *ret_file)
{
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/pictures/%s", name);
    assert_int_equal(buf_read_file(ret_file, path, 1 << 20, NULL), 0);
}

static void assert_picture(const struct image_file *got, const char *name, const char *kind)
{
    struct tensor want;
    char key[128];

    snprintf(key, sizeof key, "%s.%s", name, kind);
    assert_true(weights_find(arrays, key, &want));
    assert_int_equal(got->height, want.shape[0]);
    assert_int_equal(got->width, want.shape[1]);
    if (memcmp(got->pixels, want.data, (size_t)tensor_count(&want)) != 0)
        fail_msg("%s: the pixels of its %s differ", name, kind);
}

static void every_kind_of_file_has_pillows_pixels(void **state)
{
    const json_t *item;
    size_t i;

    (void)state;
    assert_true(json_array_size(names) >= 35);
    json_array_foreach(names, i, item)
    {
        const char *name = json_string_value(item);
        struct buf file = {0};
        struct image_file f;
        struct err why;

        read_picture(name, &file);
        if (image_file_decode(name, file.data, file.size, IMAGE_RGB, &f, &why) != 0)
            fail_msg("%s", why.text);
        assert_picture(&f, name, "rgb");
        image_file_done(&f);
        assert_int_equal(image_file_decode(name, file.data, file.size, IMAGE_MASK, &f, NULL), 0);
        assert_picture(&f, name, "mask");
        image_file_done(&f);
        buf_done(&file);
    }
}

static void a_file_is_known_by_its_bytes_whatever_its_name_says(void **state)
{
    struct buf file = {0};
    struct image_file f;

    (void)state;
    read_picture("lossless.webp", &file);
    assert_int_equal(
        image_file_decode("really-webp.png", file.data, file.size, IMAGE_RGB, &f, NULL), 0);
    assert_picture(&f, "lossless.webp", "rgb");
    image_file_done(&f);
    buf_done(&file);
}

/* Decodes a copy of exactly that size, so that AddressSanitizer sees every byte read past it. */
static int decode_copy(const char *name, const char *data, size_t size, struct image_file *ret_f,
                       struct err *e)
{
    char *copy = malloc(size > 0 ? size : 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy, data, size);
    rc = image_file_decode(name, copy, size, IMAGE_RGB, ret_f, e);
    free(copy);
    return rc;
}

static void files_cut_anywhere_are_refused_by_name(void **state)
{
    const json_t *item;
    size_t i;

    (void)state;
    json_array_foreach(names, i, item)
    {
        const char *name = json_string_value(item);
        struct buf file = {0};
        size_t least;

        read_picture(name, &file);
        /* A WebP picture stands before its EXIF block and is whole without it. */
        least = strcmp(name, "turned.webp") == 0 ? 100 : 1;
        for (size_t cut = file.size - least; cut > 0; cut -= cut > 200 ? cut / 40 : 1) {
            struct image_file f = {0};
            struct err why = {0};
            int rc = decode_copy(name, file.data, cut, &f, &why);

            if (rc != ERR_INPUT)
                fail_msg("%s cut at %zu of %zu: %d", name, cut, file.size, rc);
            assert_non_null(strstr(why.text, name));
            assert_null(f.pixels);
        }
        buf_done(&file);
    }
}

static uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void damaged_bytes_never_do_more_than_spoil_a_picture(void **state)
{
    uint32_t seed = 20240229;
    const json_t *item;
    size_t i, refused = 0, tried = 0;

    (void)state;
    json_array_foreach(names, i, item)
    {
        const char *name = json_string_value(item);
        struct buf file = {0};

        read_picture(name, &file);
        for (int round = 0; round < 60; round++) {
            struct image_file f = {0};
            struct err why = {0};
            char *copy = malloc(file.size);
            int rc;

            assert_non_null(copy);
            memcpy(copy, file.data, file.size);
            for (uint32_t n = 1 + dice(&seed) % 4; n > 0; n--) {
                /* half of the damage in the headers */
                size_t range = dice(&seed) % 2 && file.size > 64 ? 64 : file.size;

                copy[dice(&seed) % range] ^= (char)(1u << dice(&seed) % 8);
            }
            rc = image_file_decode(name, copy, file.size, IMAGE_RGB, &f, &why);
            if (rc != 0) {
                assert_true(rc == ERR_INPUT || rc == ERR_OOM);
                assert_non_null(strstr(why.text, name));
                refused++;
            }
            tried++;
            image_file_done(&f);
            free(copy);
        }
        buf_done(&file);
    }
    print_message("%zu of %zu damaged files refused\n", refused, tried);
    assert_true(refused > tried / 4);
}

static void animations_and_other_files_are_refused(void **state)
{
    static const char *const texts[] = {"", "GIF89a..........", "\xff\xd8", "RIFF....WAVEfmt "};
    struct buf file = {0};
    struct image_file f;
    struct err why;

    (void)state;
    read_picture("animated.webp", &file);
    assert_int_equal(decode_copy("dance.webp", file.data, file.size, &f, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "'dance.webp' is an animation"));
    buf_done(&file);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(decode_copy("thing.png", texts[i], strlen(texts[i]), &f, &why), ERR_INPUT);
        assert_non_null(strstr(why.text, "thing.png"));
    }
}

/* A recorded file with other sides in its header. */
static void claims(const char *name, size_t at, const char *bytes, size_t n, const char *reason)
{
    struct buf file = {0};
    struct image_file f;
    struct err why;

    read_picture(name, &file);
    memcpy(file.data + at, bytes, n);
    assert_int_equal(decode_copy(name, file.data, file.size, &f, &why), ERR_INPUT);
    if (strstr(why.text, reason) == NULL)
        fail_msg("%s", why.text);
    buf_done(&file);
}

static size_t place_of(const char *name, const char *mark, size_t n)
{
    struct buf file = {0};
    char *at;
    size_t place;

    read_picture(name, &file);
    at = memmem(file.data, file.size, mark, n);
    assert_non_null(at);
    place = (size_t)(at - file.data);
    buf_done(&file);
    return place;
}

static void pictures_too_large_are_refused_before_they_take_memory(void **state)
{
    size_t frame = place_of("444.jpg", "\xff\xc0", 2),
           lossless = place_of("lossless.webp", "VP8L", 4);

    (void)state;
    claims("rgb.png", 16, "\0\0\x40\x01\0\0\0\x10", 8, "a side has 1 to 16384");
    claims("rgb.png", 16, "\0\0\x40\0\0\0\x40\0", 8, "more than 128 MiB");
    claims("444.jpg", frame + 5, "\xff\xdc\xff\xdc", 4, "a side has 1 to 16384");
    claims("444.jpg", frame + 5, "\x40\0\x40\0", 4, "more than 128 MiB");
    claims("lossless.webp", lossless + 9, "\xff\xff\xff\x0f", 4, "more than 128 MiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_file_has_pillows_pixels),
        cmocka_unit_test(a_file_is_known_by_its_bytes_whatever_its_name_says),
        cmocka_unit_test(files_cut_anywhere_are_refused_by_name),
        cmocka_unit_test(damaged_bytes_never_do_more_than_spoil_a_picture),
        cmocka_unit_test(animations_and_other_files_are_refused),
        cmocka_unit_test(pictures_too_large_are_refused_before_they_take_memory),
    };
    int rc;

    if (json_read_file(GOLDEN_DIR "/pictures/cases.json", &names, NULL) != 0 ||
        weights_open(GOLDEN_DIR "/pictures/pictures.safetensors", &arrays, NULL) != 0)
        return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(names);
    weights_close(arrays);
    return rc;
}
