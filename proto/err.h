/*
 * The one error type: a code that programs act on and one sentence that people read.
 *
 * Functions that can fail return 0 or a negative ERR_* and take a last `struct err *e`, which may
 * be NULL and is written only on failure. Libraries never print; only a program's main shows an
 * error, once. Thread-safe: there is no shared state.
 *
 *     struct err e;
 *     if (weights_open(path, &w, &e) != 0)
 *         return err_set(&e, ERR_IO, "model '%s': %s", name, e.text);
 */
#ifndef PROTO_ERR_H
#define PROTO_ERR_H

#include <stddef.h>

/* code, value, name on the wire and in records, whether another attempt may succeed */
#define ERR_TABLE(X)                                                                               \
    X(ERR_ARG, -1, "bad_argument", 0)      /* the caller broke a documented bound */               \
    X(ERR_INPUT, -2, "bad_input", 0)       /* a file or message from outside is wrong */           \
    X(ERR_MISSING, -3, "asset_missing", 1) /* a model or another asset is not here */              \
    X(ERR_IO, -4, "io", 1)                 /* the system refused: disk, permission, network */     \
    X(ERR_OOM, -5, "oom", 1)               /* does not fit the device's memory */                  \
    X(ERR_OUTPUT, -6, "bad_output", 1)     /* the result is NaN or Inf */                          \
    X(ERR_CANCELLED, -7, "cancelled", 1)   /* stopped on request */                                \
    X(ERR_LOST, -8, "worker_lost", 1)      /* the worker went away */                              \
    X(ERR_CONFLICT, -9, "conflict", 0)     /* in use by another, or of another version */          \
    X(ERR_TIMEOUT, -10, "deadline", 1)     /* no answer in time */                                 \
    X(ERR_INTERNAL, -11, "internal", 1)    /* our own invariant does not hold */                   \
    X(ERR_DEVICE, -12, "device_lost", 1)   /* the process needs a new one to use the device again */

enum err_code {
#define X(code, value, name, retry) code = value,
    ERR_TABLE(X)
#undef X
};

#define ERR_TEXT_MAX 1024

struct err {
    int code;                /* ERR_*, 0 when nothing failed */
    char text[ERR_TEXT_MAX]; /* UTF-8, one sentence with context, NUL-terminated; too long a one has
                                " ... " for its middle */
};

/*
 * Writes code and text and returns code, so that `return err_set(...)` reads well. e may be NULL.
 * The arguments may point into e->text itself (for adding context).
 */
int err_set(struct err *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "path: Permission denied" from errno; ERR_OOM for ENOMEM, ERR_MISSING for ENOENT, else ERR_IO. */
int err_errno(struct err *e, const char *path);

/* Name of a code ("bad_input"); "ok" for 0; "internal" for a value outside the table. Static. */
const char *err_name(int code);

/* Code of a name from the wire; ERR_INTERNAL for an unknown name. */
int err_from_name(const char *name);

/* 1 if another attempt of the same work may succeed. */
int err_retryable(int code);

/* The only macro in the tree that jumps: needs `int rc` and a label `out:`. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((rc = (call)) != 0)                                                                    \
            goto out;                                                                              \
    } while (0)

#endif
