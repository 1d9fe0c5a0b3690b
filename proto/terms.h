/*
 * Names that the manifest, the messages, the pictures' metadata and the engine must spell alike:
 * samplers, schedulers, precisions, task states. Field terms follow AUTOMATIC1111.
 */
#ifndef PROTO_TERMS_H
#define PROTO_TERMS_H

#include "proto/err.h"

/* enum, name in manifests, AUTOMATIC1111's label */
#define SAMPLER_TABLE(X)                                                                           \
    X(SAMPLER_DDIM, "ddim", "DDIM")                                                                \
    X(SAMPLER_EULER, "euler", "Euler")                                                             \
    X(SAMPLER_EULER_A, "euler_a", "Euler a")                                                       \
    X(SAMPLER_DPMPP_2M, "dpmpp_2m", "DPM++ 2M")

#define SCHEDULER_TABLE(X)                                                                         \
    X(SCHEDULER_AUTOMATIC, "automatic", "Automatic")                                               \
    X(SCHEDULER_UNIFORM, "uniform", "Uniform")                                                     \
    X(SCHEDULER_KARRAS, "karras", "Karras")

#define PRECISION_TABLE(X) X(PRECISION_F32, "f32", "f32")

#define X(id, name, label) id,
enum sampler_id { SAMPLER_TABLE(X) SAMPLER_COUNT };
enum scheduler_id { SCHEDULER_TABLE(X) SCHEDULER_COUNT };
enum precision { PRECISION_TABLE(X) PRECISION_COUNT };
#undef X

/* Static strings; "?" for a value outside the table. */
const char *sampler_name(enum sampler_id id);
const char *sampler_label(enum sampler_id id);
const char *scheduler_name(enum scheduler_id id);
const char *scheduler_label(enum scheduler_id id);
const char *precision_name(enum precision id);

/* The id of an exact name, or -1. */
int sampler_from_name(const char *name);
int scheduler_from_name(const char *name);
int precision_from_name(const char *name);

/*
 * What `automatic` means for a sampler (AUTOMATIC1111 1.10): karras for dpmpp_2m, uniform for the
 * others. Any other scheduler is returned as it is.
 */
enum scheduler_id scheduler_resolve(enum sampler_id sampler, enum scheduler_id scheduler);

#endif
