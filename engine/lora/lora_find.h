/* Where a file that a prompt names is: in one of some folders, or one level below. Any thread. */
#ifndef ENGINE_LORA_LORA_FIND_H
#define ENGINE_LORA_LORA_FIND_H

#include "proto/err.h"

#include <limits.h>

/*
 * Path of NAME.safetensors: FOLDER/NAME.safetensors, else FOLDER/ANY/NAME.safetensors; the first
 * folder that has it wins. Where none has, a pickle (.pt, .ckpt, .bin) of that name is found, which
 * weights_open() refuses with the reason. folders: ended by NULL; NULL: none. A folder that does
 * not exist is empty.
 *
 * ERR_INPUT: a name that is empty, has a '/' or '\' or begins with a dot; a name that two
 * subfolders of a folder have. ERR_MISSING names the folders. ERR_IO.
 */
int lora_find(const char *const *folders, const char *name, char ret_path[PATH_MAX], struct err *e);

#endif
