/* SHA-256 by FIPS 180-4's examples. */
#include "proto/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OF_EMPTY     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OF_ABC       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void bytes_hash_to_the_published_digests(void **state)
{
    char hex[HASH_HEX_SIZE];

    (void)state;
    assert_int_equal(hash_bytes("", 0, hex, NULL), 0);
    assert_string_equal(hex, OF_EMPTY);
    assert_int_equal(hash_bytes("abc", 3, hex, NULL), 0);
    assert_string_equal(hex, OF_ABC);
}

static void files_hash_as_their_bytes(void **state)
{
    char path[] = "/tmp/test_hash_XXXXXX", hex[HASH_HEX_SIZE], *text = malloc(1000000);
    int fd = mkstemp(path);
    struct err e;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(hash_file(path, hex, &e), 0);
    assert_string_equal(hex, OF_EMPTY);
    memset(text, 'a', 1000000);
    for (int part = 0; part < 2; part++)
        assert_int_equal(write(fd, text, 500000), 500000);
    assert_int_equal(hash_file(path, hex, &e), 0);
    assert_string_equal(hex, OF_MILLION_A);
    close(fd);
    unlink(path);
    assert_int_equal(hash_file(path, hex, &e), ERR_MISSING);
    assert_int_equal(mkfifo(path, 0600), 0); /* which nobody ever writes to */
    assert_int_equal(hash_file(path, hex, &e), ERR_INPUT);
    unlink(path);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_hash_to_the_published_digests),
        cmocka_unit_test(files_hash_as_their_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
