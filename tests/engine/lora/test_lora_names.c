/* A LoRA in every spelling of its names, and with its alpha wherever it may stand: the same bytes.
 */
#include "tests/engine/lora/spelling.h"

static void check_same(struct subject *s, const struct bytes *want, const char *name, double weight)
{
    struct bytes got;

    put_on(s, name, weight, weight);
    got = run(s);
    if (!same_y(s, want, &got) || !same_text(s, want, &got))
        fail_msg("'%s' does not give the same bytes", name);
    bytes_done(&got);
    take_off(s);
}

static void every_spelling_of_names_gives_the_same_bytes(void **state)
{
    static const struct spelling spellings[] = {
        {"peft", "unet.", "text_encoder.text_model.", ".lora_A.weight", ".lora_B.weight", ".alpha",
         false, false},
        {"named", "unet.", "text_encoder.", ".lora_A.default_0.weight", ".lora_B.default_0.weight",
         ".alpha", false, false},
        {"bare", "base_model.model.", "text_encoder.base_model.model.text_model.",
         ".lora_A.default.weight", ".lora_B.default.weight", ".alpha", false, false},
        {"diffusers", "unet.", "text_encoder.text_model.", ".lora.down.weight", ".lora.up.weight",
         ".alpha", false, false},
        {"layer", "unet.", "text_encoder.text_model.", ".lora_linear_layer.down.weight",
         ".lora_linear_layer.up.weight", ".alpha", false, false},
        {"original", "lora_unet_", "lora_te1_text_model_", ".lora_down.weight", ".lora_up.weight",
         ".alpha", true, false},
    };
    char folder[FOLDER_SIZE];
    const char *const folders[] = {GOLDEN_DIR "/lora", folder, NULL};
    struct subject s;
    struct bytes want;

    (void)state;
    lora_folder(folder, "spellings");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    put_on(&s, "lora", 0.8, 0.8);
    want = run(&s);
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        respell(&s, &spellings[i], folder, NULL);
        check_same(&s, &want, spellings[i].file, 0.8);
    }
    bytes_done(&want);
    subject_close(&s);
    lora_folder_remove(folder);
}

/* alpha / rank is 1/2 in the recorded file, so that 0.4 without alpha is 0.8 with it, exactly. */
static void alpha_may_be_missing_or_stand_in_the_notes(void **state)
{
    static const char notes[] =
        "{\"unet.r\": 4, \"unet.lora_alpha\": 16, \"unet.alpha_pattern\": "
        "{\"^proj_in\": 7, \"in\": 7, \"conv1\": 2, \"proj_in\": 2, "
        "\"proj_out\": 2, \"0\": 2, \"2\": 2, \"to_q\": 2, \"to_k\": 2, "
        "\"to_v\": 2, \"net.0.proj\": 2}, \"text_encoder.r\": 4, "
        "\"text_encoder.lora_alpha\": 1, \"text_encoder.use_rslora\": true}";
    struct spelling how = {
        "none", "unet.", "text_encoder.text_model.", ".lora_A.weight", ".lora_B.weight", NULL,
        false,  false};
    char folder[FOLDER_SIZE];
    const char *const folders[] = {GOLDEN_DIR "/lora", folder, NULL};
    struct subject s;
    struct bytes want;

    (void)state;
    lora_folder(folder, "alpha");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    put_on(&s, "lora", 0.8, 0.8);
    want = run(&s);
    respell(&s, &how, folder, NULL);
    check_same(&s, &want, "none", 0.4);
    how = (struct spelling){
        "old", "",  "text_encoder.text_model.", ".lora.down.weight", ".lora.up.weight", NULL,
        false, true};
    respell(&s, &how, folder, NULL);
    check_same(&s, &want, "old", 0.4);
    how = (struct spelling){"notes",          "unet.", "text_encoder.", ".lora_A.weight",
                            ".lora_B.weight", NULL,    false,           false};
    respell(&s, &how, folder, notes); /* text: 1 / sqrt(4) */
    check_same(&s, &want, "notes", 0.8);
    bytes_done(&want);
    subject_close(&s);
    lora_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_of_names_gives_the_same_bytes),
        cmocka_unit_test(alpha_may_be_missing_or_stand_in_the_notes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
