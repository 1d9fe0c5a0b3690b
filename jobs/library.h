/*
 * The model library: where this machine finds the models that tasks name. A bare name is a folder
 * in one of the library's directories, first one wins; an absolute path is itself. Workers open
 * models through it; `litho` asks it beforehand. Read-only after open; any thread.
 *
 *     TRY(library_open(NULL, 0, &lib, e));              // LITHO_MODELS, ./models, ...
 *     TRY(library_find(lib, "sticker-128", &path, e));  // ./models/sticker-128
 */
#ifndef JOBS_LIBRARY_H
#define JOBS_LIBRARY_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stddef.h>

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
 * Appends the path of the model's folder, which holds model_index.json. ERR_MISSING says where it
 * looked; ERR_INPUT: the name is neither a bare name nor an absolute path.
 */
int library_find(const struct library *library, const char *model, struct buf *ret_path,
                 struct err *e);

/*
 * The same for one question: open, find, close. directory: the only one searched; NULL: the default
 * ones. The text of ERR_MISSING is complete as it is: which model, and where it is not.
 */
int library_locate(const char *directory, const char *model, struct buf *ret_path, struct err *e);

#endif
