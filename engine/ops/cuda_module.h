/*
 * What the CUDA module gives: a shared object beside litho-worker, loaded when a device's name asks
 * for it (cuda.c), so that a worker starts on machines without NVIDIA's libraries. It holds its own
 * copy of what it uses of the engine, all of it without state.
 */
#ifndef ENGINE_OPS_CUDA_MODULE_H
#define ENGINE_OPS_CUDA_MODULE_H

#include "engine/ops/cuda.h"
#include "engine/ops/ops.h"

/* One of another version would read other fields: sizes of what crosses, and the program's version.
 */
struct module {
    const char *version;
    size_t ops_bytes, device_bytes;
    int (*ops_new)(int device, enum precision precision, struct ops **ret_o, struct err *e);
    int (*probe)(int device, enum precision precision, struct cuda_device *ret_d, struct err *e);
    int (*count)(int *ret_n, struct err *e);
};

/* The one symbol: */
#define MODULE_SYMBOL "litho_cuda_module"
extern const struct module litho_cuda_module;

int module_ops_new(int device, enum precision precision, struct ops **ret_o, struct err *e);
int module_count(int *ret_n, struct err *e);
int module_probe(int device, enum precision precision, struct cuda_device *ret_d, struct err *e);

#endif
