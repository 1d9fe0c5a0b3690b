#include "engine/ops/cuda.h"

#include "engine/ops/cuda_module.h"
#include "proto/version.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "liblitho-cuda.so"

/* The module's file: what the environment names, else beside the program. */
static void find(char ret_path[PATH_MAX])
{
    const char *named = getenv("LITHO_CUDA_MODULE");
    ssize_t n = readlink("/proc/self/exe", ret_path, PATH_MAX - sizeof FILE_NAME - 1);
    char *slash;

    if (named != NULL || n < 0) {
        snprintf(ret_path, PATH_MAX, "%s", named != NULL ? named : FILE_NAME);
        return;
    }
    ret_path[n] = 0;
    slash = strrchr(ret_path, '/');
    memcpy(slash != NULL ? slash + 1 : ret_path, FILE_NAME, sizeof FILE_NAME);
}

/* Loaded once and kept: NVIDIA's libraries do not survive being unloaded. */
static int load(const struct module **ret_m, struct err *e)
{
    char path[PATH_MAX];
    const struct module *m;
    void *handle;

    find(path);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return err_set(e, ERR_ARG, "no CUDA here: %s", dlerror());
    m = dlsym(handle, MODULE_SYMBOL);
    if (m == NULL)
        return err_set(e, ERR_ARG, "no CUDA here: %s", dlerror());
    if (strcmp(m->version, LITHO_VERSION) != 0 || m->ops_bytes != sizeof(struct ops) ||
        m->device_bytes != sizeof(struct cuda_device))
        return err_set(e, ERR_ARG, "'%s' is of version %s, this program of %s", path, m->version,
                       LITHO_VERSION);
    *ret_m = m;
    return 0;
}

int ops_cuda_new(int device, enum precision precision, struct ops **ret_o, struct err *e)
{
    const struct module *m;
    int rc = load(&m, e);

    return rc != 0 ? rc : m->ops_new(device, precision, ret_o, e);
}

int ops_cuda_count(int *ret_n, struct err *e)
{
    const struct module *m;
    int rc = load(&m, e);

    return rc != 0 ? rc : m->count(ret_n, e);
}

int ops_cuda_probe(int device, enum precision precision, struct cuda_device *ret_d, struct err *e)
{
    const struct module *m;
    int rc = load(&m, e);

    return rc != 0 ? rc : m->probe(device, precision, ret_d, e);
}
