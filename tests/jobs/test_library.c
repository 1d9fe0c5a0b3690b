#include "jobs/library.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_library.XXXXXX";
static char path[256];

static const char *in(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Folders as web UIs have them: c/Stable-diffusion, c/VAE. */
static const char *const web_folders[] = {
    "c", "c/Stable-diffusion", "c/VAE", "c/vaes", "c/checkpoints", "c/vae", "c/vae/kl"};
static const char *const web_files[] = {
    "c/Stable-diffusion/v1-5.safetensors", "c/VAE/mse.safetensors",  "c/vae/kl/config.json",
    "c/checkpoints/xl.safetensors",        "c/checkpoints/old.ckpt", "b/only.safetensors"};

/* a/both, b/both and b/only are models; a/empty is a folder without model_index.json. */
static int make_models(void **state)
{
    static const char *const folders[] = {"a", "b", "a/both", "b/both", "b/only", "a/empty"};
    static const char *const models[] = {"a/both/model_index.json", "b/both/model_index.json",
                                         "b/only/model_index.json"};
    FILE *f;

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mkdir(in(folders[i]), 0700) != 0)
            return -1;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (!(f = fopen(in(models[i]), "w")))
            return -1;
        fclose(f);
    }
    for (size_t i = 0; i < sizeof web_folders / sizeof *web_folders; i++)
        if (mkdir(in(web_folders[i]), 0700) != 0)
            return -1;
    for (size_t i = 0; i < sizeof web_files / sizeof *web_files; i++) {
        if (!(f = fopen(in(web_files[i]), "w")))
            return -1;
        fclose(f);
    }
    return chdir(folder);
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(name);
}

static int remove_models(void **state)
{
    static const char *const all[] = {"a/both/model_index.json",
                                      "b/both/model_index.json",
                                      "b/only/model_index.json",
                                      "a/both",
                                      "b/both",
                                      "b/only",
                                      "a/empty",
                                      "a",
                                      "b",
                                      ""};

    (void)state;
    nftw("d", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    nftw("e", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    for (size_t i = sizeof web_files / sizeof *web_files; i-- > 0;)
        if (remove(in(web_files[i])) != 0)
            return -1;
    for (size_t i = sizeof web_folders / sizeof *web_folders; i-- > 0;)
        if (remove(in(web_folders[i])) != 0)
            return -1;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (remove(in(all[i])) != 0)
            return -1;
    return 0;
}

static struct library *two(void)
{
    static const char *const directories[] = {"a", "b"};
    struct library *lib = NULL;

    assert_int_equal(library_open(directories, 2, &lib, NULL), 0);
    return lib;
}

static void found_at(const struct library *lib, const char *model, const char *expected)
{
    struct buf found = {0};
    struct err e = {0};

    if (library_find(lib, model, &found, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(buf_text(&found), expected);
    buf_done(&found);
}

static void not_found(const struct library *lib, const char *model, int code, const char *why)
{
    struct buf found = {0};
    struct err e = {0};

    assert_int_equal(library_find(lib, model, &found, &e), code);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
    assert_int_equal(found.size, 0);
    buf_done(&found);
}

static void first_directory_that_has_the_model_wins(void **state)
{
    struct library *lib = two();

    (void)state;
    found_at(lib, "both", "a/both");
    found_at(lib, "only", "b/only");
    library_close(lib);
}

static void missing_model_says_where_it_looked(void **state)
{
    struct library *lib = two();

    (void)state;
    not_found(lib, "none", ERR_MISSING, "library: no none/model_index.json in a, b");
    not_found(lib, "bohT", ERR_MISSING, "library, did you mean 'both'?: no bohT/model_index.json");
    not_found(lib, "emty", ERR_MISSING, "library: no emty"); /* empty/ is no model */
    not_found(lib, "empty", ERR_MISSING, "model 'empty' is not in the model library");
    library_close(lib);
}

static void absolute_path_is_itself(void **state)
{
    struct library *lib = two();
    char absolute[256];

    (void)state;
    snprintf(absolute, sizeof absolute, "%s/b/only", folder);
    found_at(lib, absolute, absolute);
    snprintf(absolute, sizeof absolute, "%s/a/empty", folder);
    not_found(lib, absolute, ERR_MISSING, "no model_index.json");
    not_found(lib, "/no/such", ERR_MISSING, "No such file");
    library_close(lib);
}

static void names_cannot_leave_the_library(void **state)
{
    static const char *const bad[] = {"", ".", "..", "../b/only", "a/both", ".hidden"};
    struct library *lib = two();

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        not_found(lib, bad[i], ERR_INPUT, "neither a name");
    library_close(lib);
}

static void folders_of_web_uis_serve_as_they_are(void **state)
{
    static const char *const directories[] = {"c"};
    struct library *lib = NULL;
    struct buf found = {0};
    struct err e;

    (void)state;
    assert_int_equal(library_open(directories, 1, &lib, NULL), 0);
    found_at(lib, "v1-5", "c/Stable-diffusion/v1-5.safetensors");
    found_at(lib, "v1-5.safetensors", "c/Stable-diffusion/v1-5.safetensors");
    found_at(lib, "xl", "c/checkpoints/xl.safetensors");
    not_found(lib, "old", ERR_MISSING, "no old/model_index.json in c, nor old.safetensors");
    not_found(lib, "old.ckpt", ERR_INPUT, "runs code when it is read");
    not_found(lib, "mse", ERR_MISSING, "is not in the model library"); /* a VAE is no model */
    assert_int_equal(library_find_vae(lib, "mse", &found, &e), 0);
    assert_string_equal(buf_text(&found), "c/VAE/mse.safetensors");
    found.size = 0;
    assert_int_equal(library_find_vae(lib, "kl", &found, &e), 0);
    assert_string_equal(buf_text(&found), "c/vae/kl");
    assert_int_equal(library_find_vae(lib, "v1-5", &found, &e), ERR_MISSING);
    assert_int_equal(library_find_vae(lib, "../VAE/mse", &found, &e), ERR_INPUT);
    assert_int_equal(library_find_config(lib, "v1-5", &found, &e), ERR_MISSING);
    assert_string_equal(library_lora_folders(lib)[0], "c/loras");
    assert_string_equal(library_lora_folders(lib)[1], "c/Lora");
    assert_null(library_lora_folders(lib)[2]);
    assert_string_equal(library_embedding_folders(lib)[0], "c/embeddings");
    buf_done(&found);
    library_close(lib);
}

static void a_folder_comes_before_a_file_of_its_name(void **state)
{
    struct library *lib = two();
    struct buf found = {0};

    (void)state;
    found_at(lib, "only", "b/only");
    found_at(lib, "only.safetensors", "b/only.safetensors");
    assert_int_equal(library_find_config(lib, "only", &found, NULL), 0);
    assert_string_equal(buf_text(&found), "b/only");
    buf_done(&found);
    library_close(lib);
}

static void environment_lists_the_default_directories(void **state)
{
    struct library *lib = NULL;

    (void)state;
    setenv("LITHO_MODELS", ":nowhere::b:a:", 1);
    assert_int_equal(library_open(NULL, 0, &lib, NULL), 0);
    found_at(lib, "both", "b/both");
    not_found(lib, "none", ERR_MISSING, "in nowhere, b, a");
    library_close(lib);
    unsetenv("LITHO_MODELS");
    assert_int_equal(library_open(NULL, 0, &lib, NULL), 0);
    not_found(lib, "none", ERR_MISSING, "/share/litho/models");
    library_close(lib);
}

static void one_question_needs_no_open_library(void **state)
{
    struct buf found = {0};
    struct err e = {0};

    (void)state;
    assert_int_equal(library_locate("b", "only", &found, &e), 0);
    assert_string_equal(buf_text(&found), "b/only");
    assert_int_equal(library_locate("a", "only", &found, &e), ERR_MISSING);
    assert_non_null(strstr(e.text, "no only/model_index.json in a"));
    assert_string_equal(buf_text(&found), "b/only");
    setenv("LITHO_MODELS", "a:b", 1);
    found.size = 0;
    assert_int_equal(library_locate(NULL, "only", &found, &e), 0);
    assert_string_equal(buf_text(&found), "b/only");
    unsetenv("LITHO_MODELS");
    buf_done(&found);
}

/* A file of a folder of its own; alias: what its trainer called it, or NULL. */
static void put(const char *name, const char *alias)
{
    char text[200];
    unsigned char size[8] = {0};
    FILE *f;

    for (const char *p = name; (p = strchr(p, '/')); p++) {
        snprintf(text, sizeof text, "%.*s", (int)(p - name), name);
        mkdir(text, 0700);
    }
    snprintf(text, sizeof text, "{\"__metadata__\":{\"ss_output_name\":\"%s\"}}",
             alias ? alias : "");
    size[0] = (unsigned char)strlen(text);
    f = fopen(name, "wb");
    assert_non_null(f);
    fwrite(size, 1, 8, f);
    fwrite(text, 1, strlen(text), f);
    fclose(f);
}

static void lora_is(const char *name, const char *expected)
{
    const char *const directories[] = {"d"};
    struct library *lib;
    struct buf found = {0};
    struct err e = {0};

    assert_int_equal(library_open(directories, 1, &lib, NULL), 0);
    if (library_find_lora(lib, name, &found, &e) == 0)
        assert_string_equal(buf_text(&found), expected);
    else
        assert_string_equal(e.text, expected);
    buf_done(&found);
    library_close(lib);
}

static void loras_are_found_in_subfolders_and_by_their_alias(void **state)
{
    (void)state;
    put("d/loras/ink.safetensors", "ink_v3");
    put("d/loras/sd15/styles/oil.safetensors", NULL);
    put("d/loras/sd15/ink.safetensors", NULL);
    put("d/loras/sd15/twin.safetensors", "same");
    put("d/loras/xl/twin.safetensors", "same");
    put("d/loras/xl/old.ckpt", NULL);
    put("d/Lora/xl/twin.safetensors", NULL);
    put("d/Lora/oil.safetensors", NULL);
    put("d/Lora/same.safetensors", NULL);
    assert_int_equal(link("d/loras/ink.safetensors", "d/loras/xl/again.safetensors"), 0);
    assert_int_equal(symlink("../xl", "d/loras/xl/loop"), 0);

    lora_is("ink", "d/loras/ink.safetensors");
    lora_is("oil", "d/Lora/oil.safetensors"); /* a folder itself goes before what is below */
    lora_is("again", "d/loras/xl/again.safetensors");
    lora_is("ink_v3", "d/loras/ink.safetensors");
    lora_is("same", "d/Lora/same.safetensors"); /* a file's name goes before an alias */
    lora_is("twin", "LoRA 'twin': both 'd/loras/sd15/twin.safetensors' and "
                    "'d/loras/xl/twin.safetensors' have that name: say which one with its path, "
                    "<lora:./FILE.safetensors:1>, or in 'loras'");
    unlink("d/Lora/same.safetensors");
    lora_is("same", "LoRA 'same': both 'd/loras/sd15/twin.safetensors' and "
                    "'d/loras/xl/twin.safetensors' have that name (ss_output_name): say which one "
                    "with its path, <lora:./FILE.safetensors:1>, or in 'loras'");
    lora_is("Ink", "LoRA 'Ink' is not in the model library, did you mean 'ink'? (no "
                   "Ink.safetensors in d/loras, d/Lora)");
    lora_is("old", "LoRA 'old' is not in the model library; 'd/loras/xl/old.ckpt' is a pickle, a "
                   "file that runs code when it is read: convert it to .safetensors (no "
                   "old.safetensors in d/loras, d/Lora)");
}

static int name_too(void *user, const char *name, struct err *e)
{
    (void)e;
    buf_printf(user, "%s ", name);
    return 0;
}

static void embeddings_are_found_in_subfolders(void **state)
{
    const char *const directories[] = {"e"};
    struct library *lib;
    struct buf found = {0};
    struct buf names = {0};

    (void)state;
    put("e/embeddings/xl/deep/glow.safetensors", NULL);
    put("e/embeddings/word.safetensors", NULL);
    put("e/embeddings/sd15/word.safetensors", NULL);
    assert_int_equal(library_open(directories, 1, &lib, NULL), 0);
    assert_int_equal(library_find_embedding(lib, "glow", &found, NULL), 0);
    assert_string_equal(buf_text(&found), "e/embeddings/xl/deep/glow.safetensors");
    found.size = 0;
    assert_int_equal(library_find_embedding(lib, "word", &found, NULL), 0);
    assert_string_equal(buf_text(&found), "e/embeddings/word.safetensors");
    assert_int_equal(library_embeddings(lib, name_too, &names, NULL), 0);
    assert_string_equal(buf_text(&names), "word word glow ");
    buf_done(&names);
    buf_done(&found);
    library_close(lib);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_directory_that_has_the_model_wins),
        cmocka_unit_test(missing_model_says_where_it_looked),
        cmocka_unit_test(absolute_path_is_itself),
        cmocka_unit_test(names_cannot_leave_the_library),
        cmocka_unit_test(folders_of_web_uis_serve_as_they_are),
        cmocka_unit_test(a_folder_comes_before_a_file_of_its_name),
        cmocka_unit_test(environment_lists_the_default_directories),
        cmocka_unit_test(one_question_needs_no_open_library),
        cmocka_unit_test(loras_are_found_in_subfolders_and_by_their_alias),
        cmocka_unit_test(embeddings_are_found_in_subfolders),
    };

    return cmocka_run_group_tests_name("library", tests, make_models, remove_models);
}
