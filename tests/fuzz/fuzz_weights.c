/*
 * libFuzzer target: any bytes as a safetensors file open or are refused, and every tensor given
 * out lies inside of them.
 *
 *     clang -fsanitize=fuzzer,address,undefined ... fuzz_weights.c -o fuzz_weights
 *     ./fuzz_weights corpus/weights
 */
#include "engine/weights/weights.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int file = memfd_create("weights", MFD_CLOEXEC);
    struct weights *w = NULL;
    struct tensor t;
    volatile unsigned sum = 0;
    char path[64];
    struct err e;

    if (file < 0 || write(file, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (weights_open(path, &w, &e) == 0)
        for (size_t i = 0; i < weights_count(w); i++)
            if (weights_find(w, weights_name(w, i), &t))
                for (size_t k = 0; k < (size_t)tensor_count(&t) * dtype_size(t.dtype); k++)
                    sum += ((const uint8_t *)t.data)[k];
    weights_close(w);
    close(file);
    return 0;
}
