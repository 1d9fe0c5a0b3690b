#include "worker/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define PARSE(o, e, ...) parse((char *[]){"litho-worker", __VA_ARGS__, NULL}, (o), (e))

static int parse(char **argv, struct options *o, struct err *e)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    return options_parse(argc, argv, o, e);
}

static void refused(char **argv, const char *why)
{
    struct options o;
    struct err e = {0};

    assert_int_equal(parse(argv, &o, &e), ERR_ARG);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
    options_done(&o);
}

#define REFUSED(why, ...) refused((char *[]){"litho-worker", __VA_ARGS__, NULL}, (why))

static void endpoint_alone_is_enough(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(PARSE(&o, &e, "--connect", "tcp://127.0.0.1:1"), 0);
    assert_string_equal(o.connect, "tcp://127.0.0.1:1");
    assert_non_null(strchr(o.name, ':'));
    assert_true(o.threads >= 1);
    assert_int_equal(o.credits, 2);
    assert_int_equal(o.memory_bytes, 0);
    assert_int_equal(o.backend, BACKEND_CPU);
    assert_int_equal(o.n_directories, 0);
    options_done(&o);
}

static void planning_needs_no_coordinator(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(PARSE(&o, &e, "--plan", "--model", "m", "--size", "64x64", "--set", "steps=3",
                           "--set", "hr_scale=2", "--json", "tasks.jsonl"),
                     0);
    assert_true(o.plan && o.json);
    assert_string_equal(o.tasks, "tasks.jsonl");
    assert_string_equal(o.model, "m");
    assert_string_equal(o.size, "64x64");
    assert_int_equal(o.n_sets, 2);
    assert_string_equal(o.sets[1], "hr_scale=2");
    assert_true(o.threads >= 1);
    options_done(&o);
    REFUSED("unexpected argument 'b'", "--plan", "a", "b");
    REFUSED("belong to --plan", "--connect", "ipc://x", "--set", "steps=3");
}

static void every_option_arrives(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(PARSE(&o, &e, "-c", "ipc:///x", "--name=big-one", "-m", "a", "--models", "b",
                           "--threads", "3", "--memory", "1.5G", "--device", "ref", "--credits",
                           "4", "--log-level", "debug", "--hashes", "state/hashes",
                           "--gang-address", "127.0.0.2"),
                     0);
    assert_string_equal(o.name, "big-one");
    assert_int_equal(o.n_directories, 2);
    assert_string_equal(o.directories[1], "b");
    assert_int_equal(o.threads, 3);
    assert_true(o.memory_bytes == UINT64_C(3) << 29);
    assert_int_equal(o.backend, BACKEND_REF);
    assert_int_equal(o.credits, 4);
    assert_int_equal(o.log_level, LOG_DEBUG);
    assert_string_equal(o.hashes, "state/hashes");
    assert_string_equal(o.gang_address, "127.0.0.2");
    options_done(&o);
}

static void environment_names_the_coordinator(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    unsetenv("LITHO_CONNECT");
    REFUSED("--connect", "-t", "1");
    setenv("LITHO_CONNECT", "ipc:///env", 1);
    assert_int_equal(PARSE(&o, &e, "-t", "1"), 0);
    assert_string_equal(o.connect, "ipc:///env");
    options_done(&o);
    assert_int_equal(PARSE(&o, &e, "-c", "ipc:///given"), 0);
    assert_string_equal(o.connect, "ipc:///given");
    options_done(&o);
    unsetenv("LITHO_CONNECT");
}

static void mistakes_are_named(void **state)
{
    (void)state;
    REFUSED("unknown option '--smapler'", "--smapler");
    REFUSED("needs a value", "--connect");
    REFUSED("unexpected argument 'x'", "-c", "ipc:///x", "x");
    REFUSED("--threads: '0'", "--threads", "0");
    REFUSED("--threads: '2x'", "--threads", "2x");
    REFUSED("--credits: '33'", "--credits", "33");
    REFUSED("'4X' is not a size", "--memory", "4X");
    REFUSED("'' is not a size", "--memory", "");
    REFUSED("'-1' is not a size", "--memory", "-1");
    REFUSED("'nan' is not a size", "--memory", "nan");
    REFUSED("--log-level: 'loud'", "--log-level", "loud");
    REFUSED("'192.168.1.2' is not a loopback address", "--gang-address", "192.168.1.2");
    REFUSED("--gang-address: '70000-70001'", "--gang-address", "127.0.0.2:70000-70001");
    REFUSED("--gang-address: port 5000 alone", "--gang-address", "127.0.0.2:5000");
    REFUSED("no spaces", "--name", "a b");
    REFUSED("1 to 200 bytes", "--name", "");
}

static void a_cuda_device_has_a_number(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(PARSE(&o, &e, "--connect", "tcp://h:1", "--device", "cuda:3"), 0);
    assert_int_equal(o.backend, BACKEND_CUDA);
    assert_int_equal(o.device, 3);
    options_done(&o);
    REFUSED("device 'cuda:' is unknown", "--device", "cuda:");
    REFUSED("device 'cuda:x' is unknown", "--device", "cuda:x");
    REFUSED("device 'cuda:-1' is unknown", "--device", "cuda:-1");
    REFUSED("device 'cuda:99999999999' is unknown", "--device", "cuda:99999999999");
    REFUSED("device 'tpu' is unknown", "--device", "tpu");
}

static void help_needs_nothing_else(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    unsetenv("LITHO_CONNECT");
    assert_int_equal(PARSE(&o, &e, "--help"), 0);
    assert_true(o.help);
    options_done(&o);
    assert_int_equal(PARSE(&o, &e, "--version"), 0);
    assert_true(o.version);
    options_done(&o);
}

static void sizes_have_binary_units(void **state)
{
    uint64_t bytes = 0;

    (void)state;
    assert_int_equal(size_parse("12345", &bytes, NULL), 0);
    assert_int_equal(bytes, 12345);
    assert_int_equal(size_parse("2k", &bytes, NULL), 0);
    assert_int_equal(bytes, 2048);
    assert_int_equal(size_parse("3M", &bytes, NULL), 0);
    assert_int_equal(bytes, 3 << 20);
    assert_int_equal(size_parse("1T", &bytes, NULL), 0);
    assert_true(bytes == UINT64_C(1) << 40);
    assert_int_equal(size_parse("4GB", &bytes, NULL), ERR_ARG);
    assert_int_equal(size_parse("1e30", &bytes, NULL), ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoint_alone_is_enough),
        cmocka_unit_test(planning_needs_no_coordinator),
        cmocka_unit_test(every_option_arrives),
        cmocka_unit_test(environment_names_the_coordinator),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_cuda_device_has_a_number),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(sizes_have_binary_units),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
