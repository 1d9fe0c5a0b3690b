/*
 * The CUDA backend from outside: NVIDIA cards of compute capability 8.0 and later, numbers stored
 * as f16, bf16 or f32 and summed in float; those of f32 are never rounded to TF32. It is a module
 * that is loaded when it is first asked for: liblitho-cuda.so beside the program, or the file that
 * LITHO_CUDA_MODULE names. Contract of the operations: ops.h.
 *
 *     TRY(ops_cuda_probe(0, PRECISION_AUTO, &d, e));     // d.name, d.memory_bytes, ...
 *     TRY(ops_cuda_new(0, PRECISION_F16, &o, e));
 *
 * Thread-safe, but for the backend itself.
 */
#ifndef ENGINE_OPS_CUDA_H
#define ENGINE_OPS_CUDA_H

#include "proto/err.h"
#include "proto/terms.h"

#include <stdint.h>

struct ops;

struct cuda_device {
    char name[128];         /* "NVIDIA A100-SXM4-80GB" */
    char device_class[192]; /* bytes are equal within it */
    uint64_t memory_bytes;
    int major, minor; /* compute capability */
    int driver;       /* the CUDA version that the driver speaks, as 13000 */
};

/*
 * ERR_ARG without the module or its libraries, with the loader's words; without such a device.
 * Auto: f16. ERR_OOM if the device has no room. From here on, of the backend
 * too: ERR_DEVICE if this process has lost the device and only another one has it again; else
 * ERR_INTERNAL, always with the call that failed, its words and its code.
 */
int ops_cuda_new(int device, enum precision precision, struct ops **ret_o, struct err *e);

/* How many devices there are, 1 or more. Errors as of ops_cuda_probe(). */
int ops_cuda_count(int *ret_n, struct err *e);

/*
 * What the device is. ERR_ARG as above, also where the driver is missing or too old, with the
 * versions; ERR_INTERNAL if the driver refuses, with the call. The class of auto says "auto" where
 * others name the type, since that depends on the model.
 */
int ops_cuda_probe(int device, enum precision precision, struct cuda_device *ret_d, struct err *e);

#endif
