/*
 * The model library: where this machine finds the models, VAEs, LoRAs and embeddings that tasks
 * name. A bare name is looked for in the library's directories, first one wins; an absolute path is
 * itself. Workers open models through it; `litho` asks it beforehand. Read-only after open; any
 * thread.
 *
 * In each directory, and in the folders of it that other programs use (checkpoints/,
 * Stable-diffusion/; vae/, VAE/), NAME is a diffusers folder NAME/, or the file NAME.safetensors,
 * or NAME itself if it ends so. AUTOMATIC1111's and ComfyUI's `models` folders therefore serve as
 * they are.
 *
 *     TRY(library_open(NULL, 0, &lib, e));              // LITHO_MODELS, ./models, ...
 *     TRY(library_find(lib, "sticker-128", &path, e));  // ./models/sticker-128
 */
#ifndef JOBS_LIBRARY_H
#define JOBS_LIBRARY_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stddef.h>

#define LIBRARY_FOLDERS_MAX 500 /* of embeddings, subfolders among them */

struct library;

/*
 *   directories  [n], searched in this order. n = 0: those of LITHO_MODELS (colon separated), or if
 *                it is unset or empty: ./models, then models/ of the source tree that the program
 *                was built in, then <prefix>/share/litho/models.
 *
 * Directories need not exist. ret_library: library_close().
 */
int library_open(const char *const *directories, size_t n, struct library **ret_library,
                 struct err *e);
void library_close(struct library *library);

/*
 * Appends the path of the model: its folder, which holds model_index.json, or its .safetensors
 * file. ERR_MISSING says where it looked; ERR_INPUT: the name is neither a bare name nor an
 * absolute path, or is that of a pickle.
 */
int library_find(const struct library *library, const char *model, struct buf *ret_path,
                 struct err *e);

/* A VAE of its own: a folder with config.json, a model's folder (its vae/ is meant), or a file. */
int library_find_vae(const struct library *library, const char *vae, struct buf *ret_path,
                     struct err *e);

/* The folder that describes a single-file model: a model's folder, its weights not needed. */
int library_find_config(const struct library *library, const char *config, struct buf *ret_path,
                        struct err *e);

/*
 * The folders in which <lora:NAME> and an embedding NAME are NAME.safetensors: loras/ and Lora/,
 * embeddings/ and embedding/ of each directory, ended by NULL; of embeddings all folders below them
 * follow, as they were when the library was opened. They need not exist. Borrowed.
 */
const char *const *library_lora_folders(const struct library *library);
const char *const *library_embedding_folders(const struct library *library);

/*
 * The file that <lora:NAME> means: NAME.safetensors in a LoRA folder itself, else anywhere below
 * one, the first LoRA folder that has it wins; else the file whose ss_output_name is NAME, in the
 * same order. An embedding's name is found in its folders themselves (subfolders are among
 * library_embedding_folders), and its ending may have capitals. Names are file names without their
 * ending, capitals count. ERR_MISSING says where it looked, and which name is near; ERR_INPUT: a
 * name with '/' or a dot in front, or that two files below one LoRA folder have.
 */
int library_find_lora(const struct library *library, const char *name, struct buf *ret_path,
                      struct err *e);
int library_find_embedding(const struct library *library, const char *name, struct buf *ret_path,
                           struct err *e);

/* Calls f for each embedding's name; one that two folders have comes twice. Folders that cannot be
 * read are passed over. Stops at f's first error. */
int library_embeddings(const struct library *library,
                       int (*f)(void *user, const char *name, struct err *e), void *user,
                       struct err *e);

/* The directories that are searched, ended by NULL. Borrowed. */
const char *const *library_directories(const struct library *library);

/*
 * library_find for one question: open, find, close. directory: the only one searched; NULL: the
 * default ones. The text of ERR_MISSING is complete as it is: which model, and where it is not.
 */
int library_locate(const char *directory, const char *model, struct buf *ret_path, struct err *e);

#endif
