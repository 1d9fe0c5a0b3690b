/*
 * A part's config.json, read so that nothing in it goes unnoticed: every key is either asked for by
 * the network, or named as one that decides no number, or null or false; any other key is an error
 * with its value, since the engine would not do what the file says.
 *
 * The first failure is kept, later calls give the default; config_finish() returns it.
 *
 *     TRY(config_init(&c, path, root, "AutoencoderKL", e));
 *     layers = config_int(&c, "layers_per_block", 1, 64, 1);
 *     config_only_string(&c, "act_fn", "silu");
 *     TRY(config_finish(&c, (const char *const[]){"sample_size", NULL}));
 */
#ifndef ENGINE_WEIGHTS_CONFIG_H
#define ENGINE_WEIGHTS_CONFIG_H

#include "engine/ops/ops.h"
#include "proto/json.h"

#define CONFIG_LEVELS_MAX   16 /* entries of a list with one value per level */
#define CONFIG_CHANNELS_MAX 65536

struct config {
    const char *path;   /* borrowed; named in errors */
    const json_t *root; /* borrowed; an object */
    json_t *known;      /* owned; the keys asked for */
    struct json_reader reader;
};

/*
 * path: named in errors. root: what the file holds; both outlive the config. class_name: what
 * `_class_name` must be; NULL: not looked at. ERR_INPUT if root is no JSON object or of another
 * class.
 */
int config_init(struct config *c, const char *path, const json_t *root, const char *class_name,
                struct err *e);
void config_done(struct config *c);

/* 0, or the first failure, or ERR_INPUT for a key that nobody asked for. harmless: ends with NULL.
 */
int config_finish(struct config *c, const char *const *harmless);

/* The value, or otherwise when the key is missing or null. Bounds are inclusive. */
int config_int(struct config *c, const char *key, int min, int max, int otherwise);
double config_real(struct config *c, const char *key, double otherwise);
bool config_bool(struct config *c, const char *key, bool otherwise);
/* Borrowed until config_done. */
const char *config_string(struct config *c, const char *key, const char *otherwise);

/* Length of a list of 1..CONFIG_LEVELS_MAX numbers within bounds; an error if it is missing. */
int config_list(struct config *c, const char *key, int min, int max,
                int ret_values[CONFIG_LEVELS_MAX]);

/* A number for all levels, or a list with one for each. Within bounds even after a failure. */
void config_per_level(struct config *c, const char *key, int min, int max, int otherwise,
                      int levels, int ret_values[CONFIG_LEVELS_MAX]);

/* The i-th string of a list of exactly n; NULL after a failure. */
const char *config_list_string(struct config *c, const char *key, int n, int i);

/* silu (or its other name swish), gelu or quick_gelu. */
enum activation config_activation(struct config *c, const char *key, const char *otherwise);

/* For keys of which the engine implements one value. */
void config_only_string(struct config *c, const char *key, const char *value);
void config_only_number(struct config *c, const char *key, double value);

/* Fails with "PATH: 'key' is VALUE" and the reason. Returns ERR_INPUT. */
int config_refuse(struct config *c, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
