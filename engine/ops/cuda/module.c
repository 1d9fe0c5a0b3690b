#include "engine/ops/cuda_module.h"

#include "engine/ops/cuda/cuda.h"
#include "proto/version.h"

#include <stdio.h>

__attribute__((visibility("default"))) const struct module litho_cuda_module = {
    .version = LITHO_VERSION,
    .ops_bytes = sizeof(struct ops),
    .device_bytes = sizeof(struct cuda_device),
    .ops_new = module_ops_new,
    .probe = module_probe,
    .count = module_count,
};

/* Bytes depend on the card's model, the type of number and the libraries that compute. */
static void name_class(struct cuda_device *d, const struct cudaDeviceProp *p,
                       enum precision precision)
{
    const char *type = precision == PRECISION_AUTO   ? "auto"
                       : precision == PRECISION_BF16 ? "bf16"
                       : precision == PRECISION_F32  ? "f32"
                                                     : "f16";
    char name[sizeof p->name + 1];
    size_t n = 0;

    for (const char *c = p->name; *c != 0 && n < sizeof name - 1; c++)
        name[n++] = *c == ' ' || *c == '/' ? '-' : *c;
    name[n] = 0;
    snprintf(d->device_class, sizeof d->device_class, "cuda-%.100s-%s-cublas%zu-cudnn%zu", name,
             type, cublasLtGetVersion(), cudnnGetVersion());
}

/* Why there is no device: absent, no driver, or one that is too old for the runtime. */
static int no_device(cudaError_t code, struct err *e)
{
    int driver = 0, runtime = 0;
    struct err why;
    int class;

    if (code == cudaErrorInsufficientDriver) {
        cudaDriverGetVersion(&driver);
        cudaRuntimeGetVersion(&runtime);
    }
    class = cuda_check(code, "cudaGetDeviceCount", &why);
    if (code == cudaErrorInsufficientDriver && driver > 0)
        return err_set(
            e, ERR_ARG,
            "NVIDIA's driver is too old: it is for CUDA %d.%d, this build needs %d.%d; %s",
            driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, why.text);
    if (code == cudaErrorNoDevice || code == cudaErrorInsufficientDriver)
        return err_set(e, ERR_ARG, "this machine has no CUDA device: %s%s", why.text,
                       code == cudaErrorNoDevice ? "" : "; NVIDIA's driver is not installed");
    return err_set(e, class, "%s", why.text);
}

int module_count(int *ret_n, struct err *e)
{
    int n = 0;
    cudaError_t code = cudaGetDeviceCount(&n);

    if (code != cudaSuccess)
        return no_device(code, e);
    *ret_n = n;
    return 0;
}

int module_probe(int device, enum precision precision, struct cuda_device *ret_d, struct err *e)
{
    struct cudaDeviceProp p;
    struct cuda_device d = {0};
    struct err why;
    int n = 0, rc = module_count(&n, &why);

    if (rc != 0)
        TRY(err_set(e, rc, "cuda:%d: %s", device, why.text));
    if (device < 0 || device >= n)
        TRY(err_set(e, ERR_ARG, "cuda:%d: this machine has %d CUDA devices", device, n));
    TRY(cuda_check(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties", e));
    if (p.major < 8)
        TRY(err_set(e, ERR_ARG, "cuda:%d: %s has compute capability %d.%d, at least 8.0 is needed",
                    device, p.name, p.major, p.minor));
    TRY(cuda_check(cudaDriverGetVersion(&d.driver), "cudaDriverGetVersion", e));
    snprintf(d.name, sizeof d.name, "%.127s", p.name);
    d.memory_bytes = p.totalGlobalMem;
    d.major = p.major;
    d.minor = p.minor;
    name_class(&d, &p, precision);
    *ret_d = d;
out:
    return rc;
}
