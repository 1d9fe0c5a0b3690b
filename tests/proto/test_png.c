/* Pictures as PNG: pixels and texts survive, bytes repeat, hostile files are refused. */
#include "proto/png.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WIDTH    13
#define HEIGHT   7
#define UMLAUTS  "na\xc3\xafve, caf\xc3\xa9\nSteps: 20"                       /* fits Latin-1 */
#define JAPANESE "{\"prompt\":\"\xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x8d\x95\"}" /* does not */

static uint8_t picture[HEIGHT * WIDTH * 3];

/* 2 x 1 pixels of one bit: red, and a half-transparent blue; a zTXt chunk "note". */
static const unsigned char palette[] = {
    137, 80,  78,  71,  13,  10, 26,  10,  0,   0,   0,   13,  73,  72,  68, 82,  0,   0,   0,
    2,   0,   0,   0,   1,   1,  3,   0,   0,   0,   206, 236, 237, 201, 0,  0,   0,   6,   80,
    76,  84,  69,  255, 0,   0,  0,   0,   255, 108, 161, 253, 142, 0,   0,  0,   2,   116, 82,
    78,  83,  255, 128, 8,   15, 179, 106, 0,   0,   0,   18,  122, 84,  88, 116, 110, 111, 116,
    101, 0,   0,   120, 156, 75, 78,  76,  123, 9,   0,   4,   104, 2,   20, 70,  149, 60,  242,
    0,   0,   0,   10,  73,  68, 65,  84,  120, 156, 99,  112, 0,   0,   0,  66,  0,   65,  41,
    55,  244, 239, 0,   0,   0,  0,   73,  69,  78,  68,  174, 66,  96,  130};

/* 20000 x 1 pixels. */
static const unsigned char wide[] = {
    137, 80,  78,  71,  13,  10,  26, 10,  0, 0,  0,   13,  73,  72,  68, 82,  0,   0,  78,  32,
    0,   0,   0,   1,   8,   0,   0,  0,   0, 30, 223, 193, 82,  0,   0,  0,   43,  73, 68,  65,
    84,  120, 156, 237, 193, 33,  1,  0,   0, 0,  2,   32,  155, 255, 31, 123, 195, 0,  164, 0,
    0,   0,   0,   0,   0,   0,   0,  0,   0, 0,  0,   0,   0,   0,   0,  0,   0,   0,  92,  24,
    145, 153, 34,  255, 216, 177, 47, 139, 0, 0,  0,   0,   73,  69,  78, 68,  174, 66, 96,  130};

/* 16384 x 16384 pixels, of which next to nothing is there. */
static const unsigned char many[] = {
    137, 80,  78,  71, 13, 10, 26, 10,  0,   0,  0,  13,  73, 72,  68,  82,  0,
    0,   64,  0,   0,  0,  64, 0,  8,   2,   0,  0,  0,   38, 170, 135, 211, 0,
    0,   0,   9,   73, 68, 65, 84, 120, 156, 99, 0,  0,   0,  1,   0,   1,   94,
    255, 125, 249, 0,  0,  0,  0,  73,  69,  78, 68, 174, 66, 96,  130};

static void encode(struct buf *file)
{
    const struct png_text texts[] = {{"parameters", UMLAUTS}, {"litho", JAPANESE}};
    struct err e;

    for (size_t i = 0; i < sizeof picture; i++)
        picture[i] = (uint8_t)(i * i * 31 + i * 7);
    if (png_encode(picture, WIDTH, HEIGHT, texts, 2, file, &e) != 0)
        fail_msg("%s", e.text);
}

/* Offset of a chunk's type name in the file, or 0. */
static size_t chunk_at(const struct buf *file, const char *type)
{
    for (size_t i = 8; i + 4 < file->size; i++)
        if (memcmp(file->data + i, type, 4) == 0)
            return i;
    return 0;
}

static void pixels_come_back(void **state)
{
    struct buf file = {0};
    uint8_t *pixels;
    int width, height;

    (void)state;
    encode(&file);
    assert_int_equal(png_decode(file.data, file.size, &pixels, &width, &height, NULL), 0);
    assert_int_equal(width, WIDTH);
    assert_int_equal(height, HEIGHT);
    assert_memory_equal(pixels, picture, sizeof picture);
    free(pixels);
    buf_done(&file);
}

static void texts_come_back_as_utf8(void **state)
{
    struct buf file = {0}, text = {0};
    struct err e;

    (void)state;
    encode(&file);
    assert_int_equal(png_text_get(file.data, file.size, "parameters", &text, &e), 0);
    assert_string_equal(buf_text(&text), UMLAUTS);
    text.size = 0;
    assert_int_equal(png_text_get(file.data, file.size, "litho", &text, &e), 0);
    assert_string_equal(buf_text(&text), JAPANESE);
    assert_int_equal(png_text_get(file.data, file.size, "other", &text, &e), ERR_MISSING);
    buf_done(&text);
    buf_done(&file);
}

static void latin1_text_is_text_and_other_text_is_itxt_in_the_order_given(void **state)
{
    struct buf file = {0};
    size_t first, second;

    (void)state;
    encode(&file);
    first = chunk_at(&file, "tEXt");
    second = chunk_at(&file, "iTXt");
    assert_true(first > 0 && second > first && chunk_at(&file, "IDAT") > second);
    assert_memory_equal(file.data + first + 4, "parameters\0na\xefve, caf\xe9\n", 23);
    assert_memory_equal(file.data + second + 4, "litho\0\0\0\0\0{", 11); /* not compressed */
    assert_int_equal(chunk_at(&file, "tIME"), 0);
    buf_done(&file);
}

static void the_same_picture_makes_the_same_bytes(void **state)
{
    struct buf a = {0}, b = {0};

    (void)state;
    encode(&a);
    encode(&b);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    buf_done(&a);
    buf_done(&b);
}

static void what_was_in_the_buffer_stays(void **state)
{
    const struct png_text broken = {"litho", "\xff"};
    struct buf file = {0};

    (void)state;
    buf_puts(&file, "before");
    assert_int_equal(png_encode(picture, WIDTH, HEIGHT, &broken, 1, &file, NULL), ERR_ARG);
    assert_string_equal(buf_text(&file), "before");
    assert_int_equal(png_encode(picture, WIDTH, HEIGHT, NULL, 0, &file, NULL), 0);
    assert_memory_equal(file.data, "before\x89PNG", 10);
    buf_done(&file);
}

static void arguments_out_of_bounds_are_refused(void **state)
{
    static const struct png_text no_key = {"", "x"},
                                 long_key = {"12345678901234567890123456789012345678901234567890123"
                                             "456789012345678901234567890",
                                             "x"};
    struct buf file = {0};

    (void)state;
    assert_int_equal(png_encode(picture, 0, 1, NULL, 0, &file, NULL), ERR_ARG);
    assert_int_equal(png_encode(picture, 1, PNG_SIDE_MAX + 1, NULL, 0, &file, NULL), ERR_ARG);
    assert_int_equal(png_encode(picture, 1, 1, &no_key, 1, &file, NULL), ERR_ARG);
    assert_int_equal(png_encode(picture, 1, 1, &long_key, 1, &file, NULL), ERR_ARG);
    assert_int_equal(file.size, 0);
}

/* AddressSanitizer tells of each malloc; without it the test sees the refusal alone. */
extern int __sanitizer_install_malloc_and_free_hooks(void (*taken)(const volatile void *, size_t),
                                                     void (*freed)(const volatile void *))
    __attribute__((weak));

static size_t most_taken;

static void on_malloc(const volatile void *p, size_t size)
{
    (void)p;
    most_taken = size > most_taken ? size : most_taken;
}

static void on_free(const volatile void *p)
{
    (void)p;
}

static void a_chunk_that_claims_gigabytes_is_refused_before_memory_is_taken(void **state)
{
    static const char *const types[] = {"eXIf", "iTXt", "iCCP", "zzZz"};
    struct buf file = {0}, text = {0};
    uint8_t *pixels;
    int width, height;
    struct err e;

    (void)state;
    encode(&file);
    if (__sanitizer_install_malloc_and_free_hooks)
        __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        size_t at = chunk_at(&file, "tEXt");

        memcpy(file.data + at, types[i], 4);
        memcpy(file.data + at - 4, "\x68\0\0\0", 4);
        assert_int_equal(png_decode_rgba(file.data, file.size, &pixels, &width, &height, &text, &e),
                         ERR_INPUT);
        assert_non_null(strstr(e.text, "ends too early"));
        assert_int_equal(png_text_get(file.data, file.size, "litho", &text, &e), ERR_INPUT);
        assert_non_null(strstr(e.text, "ends too early"));
        memcpy(file.data + at, "tEXt", 4);
    }
    assert_true(most_taken < 1u << 24);
    buf_done(&file);
    buf_done(&text);
}

static void every_cut_of_a_file_is_refused(void **state)
{
    struct buf file = {0};
    uint8_t *pixels = NULL;
    int width, height;
    struct err e;

    (void)state;
    encode(&file);
    for (size_t size = 0; size < file.size; size++) {
        char *copy = malloc(size + 1); /* exact, so that a read past its end is seen */
        memcpy(copy, file.data, size);
        copy = realloc(copy, size ? size : 1);
        assert_int_equal(png_decode(copy, size, &pixels, &width, &height, &e), ERR_INPUT);
        assert_null(pixels);
        free(copy);
    }
    buf_done(&file);
}

static void no_changed_byte_is_read_as_the_picture(void **state)
{
    struct buf file = {0}, text = {0};
    int width, height;
    struct err e;

    (void)state;
    encode(&file);
    for (size_t i = 0; i < file.size; i++) {
        uint8_t *pixels = NULL;
        int rc;

        file.data[i] ^= 0x41;
        rc = png_decode(file.data, file.size, &pixels, &width, &height, &e);
        if (i < 33 || i >= chunk_at(&file, "IDAT")) /* checksums guard what decides pixels */
            assert_int_equal(rc, ERR_INPUT);
        else if (rc == 0)
            assert_memory_equal(pixels, picture, sizeof picture);
        free(pixels);
        text.size = 0;
        rc = png_text_get(file.data, file.size, "litho", &text, &e);
        if (rc == 0)
            assert_string_equal(buf_text(&text), JAPANESE);
        file.data[i] ^= 0x41;
    }
    buf_done(&text);
    buf_done(&file);
}

static void sizes_and_texts_beyond_the_limits_are_refused(void **state)
{
    char *text = malloc(PNG_TEXT_MAX + 1);
    const struct png_text large = {"litho", text};
    struct buf file = {0};
    uint8_t *pixels;
    int width, height;
    struct err e;

    (void)state;
    memset(text, 'x', PNG_TEXT_MAX);
    text[PNG_TEXT_MAX] = '\0';
    assert_int_equal(png_encode(picture, 1, 1, &large, 1, &file, &e), ERR_ARG);
    assert_int_equal(png_decode(wide, sizeof wide, &pixels, &width, &height, &e), ERR_INPUT);
    assert_int_equal(png_decode(many, sizeof many, &pixels, &width, &height, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "16384x16384"));
    free(text);
}

static void what_is_no_png_is_refused(void **state)
{
    struct buf text = {0};
    uint8_t *pixels;
    int width, height;
    struct err e;

    (void)state;
    assert_int_equal(png_decode("GIF89a..........", 16, &pixels, &width, &height, &e), ERR_INPUT);
    assert_int_equal(png_decode("", 0, &pixels, &width, &height, &e), ERR_INPUT);
    assert_int_equal(png_text_get("\x89PNG", 4, "litho", &text, &e), ERR_INPUT);
    assert_string_equal(e.text, "not a PNG file");
}

static void palettes_and_compressed_latin1_are_understood(void **state)
{
    static const uint8_t red_of_0_and_blue_of_1[] = {255, 0, 0, 0, 0, 255};
    struct buf text = {0};
    uint8_t *pixels;
    int width, height;

    (void)state;
    assert_int_equal(png_decode(palette, sizeof palette, &pixels, &width, &height, NULL), 0);
    assert_true(width == 2 && height == 1);
    assert_memory_equal(pixels, red_of_0_and_blue_of_1, 6);
    assert_int_equal(png_text_get(palette, sizeof palette, "note", &text, NULL), 0);
    assert_string_equal(buf_text(&text), "caf\xc3\xa9");
    buf_done(&text);
    free(pixels);
}

static void a_check_refuses_every_changed_byte_and_every_cut(void **state)
{
    static const struct png_text text = {"note", UMLAUTS};
    struct buf file = {0};

    (void)state;
    assert_int_equal(png_encode(picture, WIDTH, HEIGHT, &text, 1, &file, NULL), 0);
    assert_int_equal(png_check(file.data, file.size, WIDTH, HEIGHT, NULL), 0);
    assert_int_equal(png_check(file.data, file.size, 0, 0, NULL), 0);
    for (size_t i = 0; i < file.size; i++) {
        file.data[i] ^= 0x20; /* of a chunk's name too: its checksum covers it */
        assert_int_equal(png_check(file.data, file.size, 0, 0, NULL), ERR_INPUT);
        file.data[i] ^= 0x20;
        assert_int_equal(png_check(file.data, i, 0, 0, NULL), ERR_INPUT);
    }
    buf_append(&file, "", 1);
    assert_int_equal(png_check(file.data, file.size, 0, 0, NULL), ERR_INPUT);
    buf_done(&file);
}

static void check_says(const void *file, size_t size, int64_t width, const char *text)
{
    struct err e;

    assert_int_equal(png_check(file, size, width, 0, &e), ERR_INPUT);
    if (!strstr(e.text, text))
        fail_msg("'%s' does not say '%s'", e.text, text);
}

/* Signature and one chunk with a right checksum, but no more. */
static void a_check_says_what_is_wrong(void **state)
{
    static const unsigned char empty[] = {137, 80, 78, 71, 13, 10, 26,  10, 0,  0,
                                          0,   0,  73, 69, 78, 68, 174, 66, 96, 130};
    struct buf file = {0};

    (void)state;
    assert_int_equal(png_encode(picture, WIDTH, HEIGHT, NULL, 0, &file, NULL), 0);
    check_says(file.data, file.size, 14, "has 13 x 7 pixels instead of 14 x 0");
    check_says(file.data, 33, 0, "ends too early");
    buf_done(&file);
    check_says(palette, sizeof palette, 0, "not 8-bit RGB");
    check_says(wide, sizeof wide, 0, "has 20000 x 1 pixels");
    check_says(empty, sizeof empty, 0, "header is not where");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_come_back),
        cmocka_unit_test(texts_come_back_as_utf8),
        cmocka_unit_test(latin1_text_is_text_and_other_text_is_itxt_in_the_order_given),
        cmocka_unit_test(the_same_picture_makes_the_same_bytes),
        cmocka_unit_test(what_was_in_the_buffer_stays),
        cmocka_unit_test(arguments_out_of_bounds_are_refused),
        cmocka_unit_test(a_chunk_that_claims_gigabytes_is_refused_before_memory_is_taken),
        cmocka_unit_test(every_cut_of_a_file_is_refused),
        cmocka_unit_test(no_changed_byte_is_read_as_the_picture),
        cmocka_unit_test(sizes_and_texts_beyond_the_limits_are_refused),
        cmocka_unit_test(what_is_no_png_is_refused),
        cmocka_unit_test(a_check_refuses_every_changed_byte_and_every_cut),
        cmocka_unit_test(a_check_says_what_is_wrong),
        cmocka_unit_test(palettes_and_compressed_latin1_are_understood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
