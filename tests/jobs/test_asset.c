#include "jobs/asset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct task task_of(const char *prompt, const char *negative)
{
    return (struct task){
        .model = (char *)"sd", .prompt = (char *)prompt, .negative_prompt = (char *)negative};
}

static void a_task_needs_what_its_fields_and_its_prompts_loras_name(void **state)
{
    struct task t = task_of("a <lora:fur:0.5> fox <lora:ink:0> <lora:fur>", "<lora:no>");
    struct asset_needs needs;

    (void)state;
    t.vae = (char *)"/models/v.safetensors";
    t.mask = (char *)"";
    assert_int_equal(asset_needs_of(&t, &needs, NULL), 0);
    assert_int_equal(needs.n, 3);
    assert_string_equal(needs.at[0].name, "sd");
    assert_int_equal(needs.at[1].role, ASSET_VAE);
    assert_int_equal(needs.at[2].role, ASSET_LORA); /* once; without weight it is not used */
    assert_string_equal(needs.at[2].name, "fur");
    asset_needs_done(&needs);
}

static void bound_names_are_needed_by_their_files(void **state)
{
    struct task t = task_of("a <lora:fur:0.5> <lora:ink>", "");
    struct asset_needs needs;

    (void)state;
    assert_int_equal(names_put(&t.loras, "ink", "/a/b.safetensors", NULL), 0);
    assert_int_equal(names_put(&t.embeddings, "Bad  Hands", "sha256:" A, NULL), 0);
    assert_int_equal(asset_needs_of(&t, &needs, NULL), 0);
    assert_int_equal(needs.n, 4);
    assert_null(needs.at[0].label);
    assert_string_equal(needs.at[1].name, "fur");
    assert_string_equal(needs.at[1].label, "fur");
    assert_string_equal(needs.at[2].name, "/a/b.safetensors");
    assert_string_equal(needs.at[2].label, "ink");
    assert_int_equal(needs.at[3].role, ASSET_EMBEDDING);
    assert_string_equal(needs.at[3].name, "sha256:" A);
    assert_string_equal(needs.at[3].label, "Bad  Hands");
    assert_true(asset_is_bound(&t, "bad hands")); /* the same tokens */
    assert_false(asset_is_bound(&t, "badhands"));
    assert_false(asset_is_bound(&t, "bad"));
    asset_needs_done(&needs);
    names_done(&t.loras);
    names_done(&t.embeddings);
}

static void an_embedding_may_be_used_where_its_letters_stand(void **state)
{
    struct task t = task_of("A fox, Bad-Hands style", "easy negative");

    (void)state;
    assert_true(asset_may_use(&t, "bad-hands"));
    assert_true(asset_may_use(&t, "EasyNegative"));
    assert_true(asset_may_use(&t, "\xc3\xa4")); /* cannot be ruled out */
    assert_false(asset_may_use(&t, "worst"));
    assert_false(asset_may_use(&t, "stylee")); /* not over the prompt's end */
}

static void names_that_lead_elsewhere_are_unsafe(void **state)
{
    char longest[257];

    (void)state;
    memset(longest, 'a', 256);
    assert_true(asset_name_is_safe("a b.safetensors", 15));
    assert_true(asset_name_is_safe(longest, 255));
    assert_false(asset_name_is_safe(longest, 256));
    assert_false(asset_name_is_safe("", 0));
    assert_false(asset_name_is_safe("..", 2));
    assert_false(asset_name_is_safe("a/b", 3));
    assert_false(asset_name_is_safe("a\0b", 3));
    assert_false(asset_name_is_safe("a\nb", 3));
}

static void roles_have_names_both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < ASSET_ROLES; i++)
        assert_int_equal(asset_role_from_name(asset_role_name((enum asset_role)i)), i);
    assert_int_equal(asset_role_from_name("models"), ASSET_ROLES);
}

static void only_sixty_four_digits_are_a_hash(void **state)
{
    (void)state;
    assert_string_equal(asset_hash_of("sha256:" A), A);
    assert_null(asset_hash_of(A));
    assert_null(asset_hash_of("sha256:" A "0"));
    assert_null(asset_hash_of("sha256:0123"));
}

static void hash(const char *task, const struct asset_hash *hashes, size_t n, char *ret_hex)
{
    struct err e = {0};

    if (asset_task_hash(task, hashes, n, ret_hex, &e) != 0)
        fail_msg("%s", e.text);
}

static void a_tasks_hash_follows_its_files_and_not_their_names(void **state)
{
    const struct asset_hash one[] = {{ASSET_MODEL, "", A}, {ASSET_LORA, "fur", B}};
    const struct asset_hash other[] = {{ASSET_MODEL, "", A}, {ASSET_LORA, "fur", A}};
    char x[HASH_HEX_SIZE], y[HASH_HEX_SIZE], expected[HASH_HEX_SIZE];
    static const char canonical[] =
        "{\"loras\":{\"fur\":\"sha256:" B "\"},\"model\":\"sha256:" A "\",\"seed\":1}";

    (void)state;
    hash("{\"model\":\"a\",\"seed\":1}", one, 2, x);
    hash("{\"model\":\"/b/a\",\"seed\":1}", one, 2, y);
    assert_string_equal(x, y);
    assert_int_equal(hash_bytes(canonical, sizeof canonical - 1, expected, NULL), 0);
    assert_string_equal(x, expected);
    hash("{\"loras\":{\"fur\":\"/x/y.safetensors\"},\"model\":\"a\",\"seed\":1}", one, 2, y);
    assert_string_equal(x, y); /* bound to a path, the same as by name */
    hash("{\"model\":\"a\",\"seed\":1}", other, 2, y);
    assert_string_not_equal(x, y);
    hash("{\"model\":\"a\",\"seed\":2}", one, 2, y);
    assert_string_not_equal(x, y);
    hash("{\"model\":\"a\",\"seed\":1}", NULL, 0, y);
    assert_string_not_equal(x, y);
    assert_int_equal(asset_task_hash("[]", NULL, 0, x, NULL), ERR_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_needs_what_its_fields_and_its_prompts_loras_name),
        cmocka_unit_test(bound_names_are_needed_by_their_files),
        cmocka_unit_test(an_embedding_may_be_used_where_its_letters_stand),
        cmocka_unit_test(names_that_lead_elsewhere_are_unsafe),
        cmocka_unit_test(roles_have_names_both_ways),
        cmocka_unit_test(only_sixty_four_digits_are_a_hash),
        cmocka_unit_test(a_tasks_hash_follows_its_files_and_not_their_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
