/*
 * LoRA: low-rank changes of the text encoders and the U-Net (Hu et al. 2021, arXiv:2106.09685), by
 * the names that prompts give, put onto a model's layers and taken off again. The model's own
 * weights are never touched: without LoRAs its results have the bytes that they always had.
 *
 * A change equals diffusers' load_lora_weights(file) with set_adapters(name, weight): alpha / rank
 * times the weight times up(down(x)) is added to what a layer gives. Several add up. What diffusers
 * and AUTOMATIC1111 skip with a warning is an error here: a tensor for a module that the model
 * lacks, a kind of LoRA that is not implemented, a missing file.
 *
 * Belongs to the thread of the model's backend.
 *
 *     TRY(model_lora_folders(m, folders, budget, e));                 // once
 *     TRY(model_loras(m, uses, n, e));       // before each plan or render, before its texts
 *     key = prompt and model_lora_text_id(m);                         // of a cache of texts
 *     model_lora_done(m);                                             // before the model closes
 */
#ifndef ENGINE_LORA_LORA_H
#define ENGINE_LORA_LORA_H

#include "engine/checkpoint/model.h"
#include "engine/lora/lora_info.h"
#include "engine/prompt/check.h"

#define LORA_USES_MAX ENGINE_LORAS_MAX /* at once */

/*
 * Where LoRAs are found, once per model: folders, ended by NULL, which outlive the model; NULL:
 * nowhere. A name is looked for as FOLDER/NAME.safetensors, then as FOLDER/ANY/NAME.safetensors,
 * folder by folder. budget_bytes: of weights with LoRAs; 0: no limit. ERR_OOM.
 */
int model_lora_folders(struct model *m, const char *const *folders, uint64_t budget_bytes,
                       struct err *e);

/* After model_lora_folders, and in place of its folders: see engine_options.lora_path. */
void model_lora_finder(struct model *m,
                       int (*path_of)(void *user, const char *name, char ret_path[PATH_MAX],
                                      struct err *e),
                       void *user);

/*
 * From here on the model computes with exactly these LoRAs, in whatever order they are given; n 0:
 * with none. Those whose weights are both 0 count as not given: their files need not exist. Nothing
 * happens if they are already there. m->weight_bytes counts them.
 *
 * Files stay open for later calls, and are read again when they changed on disk.
 *
 * ERR_MISSING: no such file. ERR_INPUT: a name with '/' or a leading dot, a weight that is not
 * finite, a name twice, a file that does not fit the model (lora_file.h), or that two subfolders
 * have. ERR_OOM: over the budget, with the numbers. After an error the model has no LoRA.
 */
int model_loras(struct model *m, const struct lora_use *uses, size_t n, struct err *e);

/*
 * Stands for all that LoRAs do to the text encoders now: equal texts under equal ids have equal
 * states. "" without. Borrowed until the next model_loras().
 */
const char *model_lora_text_id(const struct model *m);

/*
 * Those of the last model_loras(), sorted by name; ret_infos: [LORA_USES_MAX], borrowed until the
 * next one. Returns how many.
 */
size_t model_lora_infos(const struct model *m, struct lora_info *ret_infos);

/* Takes everything off and closes the files; before model_close(). NULL is legal. */
void model_lora_done(struct model *m);

#endif
