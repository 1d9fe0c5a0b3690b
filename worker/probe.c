#include "worker/probe.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICES_MAX 1024

/* "cuda", "cuda:0". */
static bool cuda_number(const char *name, int *ret_device)
{
    char *end;
    long number;

    if (strcmp(name, "cuda") == 0)
        return true;
    if (strncmp(name, "cuda:", 5) != 0 || name[5] < '0' || name[5] > '9')
        return false;
    number = strtol(name + 5, &end, 10);
    *ret_device = (int)number;
    return *end == 0 && number < DEVICES_MAX;
}

int probe_backend(const char *name, enum backend *ret_backend, int *ret_device, struct err *e)
{
    *ret_device = 0;
    if (strcmp(name, "cpu") == 0)
        *ret_backend = BACKEND_CPU;
    else if (strcmp(name, "ref") == 0)
        *ret_backend = BACKEND_REF;
    else if (cuda_number(name, ret_device))
        *ret_backend = BACKEND_CUDA;
    else
        return err_set(e, ERR_ARG, "device '%s' is unknown: there are 'cpu', 'cuda:0' and 'ref'",
                       name);
    return 0;
}

/* The value of the first line "model name : ...", "" if there is none. */
static void processor_name(char *ret_name, size_t size)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[512], *value;

    ret_name[0] = 0;
    while (f && fgets(line, sizeof line, f)) {
        value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value)
            continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(ret_name, size, "%s", value);
        break;
    }
    if (f)
        fclose(f);
}

static int probe_cuda(int device, struct probe *ret_probe, struct err *e)
{
    struct engine_device d;
    int rc;

    TRY(engine_probe_cuda(device, &d, e));
    snprintf(ret_probe->device, sizeof ret_probe->device, "%s", d.text);
    snprintf(ret_probe->device_class, sizeof ret_probe->device_class, "%s", d.device_class);
    ret_probe->memory_bytes = d.memory_bytes;
    TRY(engine_offers(BACKEND_CUDA, device, ret_probe->offers, &ret_probe->n_offers, e));
out:
    return rc;
}

int probe_device(enum backend backend, int device, struct probe *ret_probe, struct err *e)
{
    const char *kind = backend == BACKEND_REF ? "ref" : "cpu";
    char name[200];

    *ret_probe = (struct probe){0};
    if (backend == BACKEND_CUDA)
        return probe_cuda(device, ret_probe, e);
    processor_name(name, sizeof name);
    snprintf(ret_probe->device, sizeof ret_probe->device, "%s%s%s", kind, name[0] ? ": " : "",
             name);
    snprintf(ret_probe->device_class, sizeof ret_probe->device_class, "%s",
             engine_probe_class(backend, PRECISION_AUTO));
    return engine_offers(backend, device, ret_probe->offers, &ret_probe->n_offers, e);
}

void probe_list(FILE *out)
{
    struct probe p;
    struct err e;
    int n = 0;

    if (probe_device(BACKEND_CPU, 0, &p, &e) == 0)
        fprintf(out, "%s; %d processors, class %s\n", p.device, probe_threads(), p.device_class);
    if (engine_count_cuda(&n, &e) != 0)
        fprintf(out, "no cuda: %s\n", e.text);
    for (int i = 0; i < n; i++) {
        if (probe_device(BACKEND_CUDA, i, &p, &e) == 0)
            fprintf(out, "%s; class %s\n", p.device, p.device_class);
        else
            fprintf(out, "%s\n", e.text);
    }
}

int probe_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;

    if (n < 1)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n;
}

void probe_host(char ret_host[PROBE_HOST_SIZE])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    char boot[40] = "", space[40] = "";

    if (f) {
        if (!fgets(boot, sizeof boot, f))
            boot[0] = 0;
        fclose(f);
    }
    boot[strcspn(boot, "\n")] = 0;
    ret_host[0] = 0;
    if (boot[0] && readlink("/proc/self/ns/net", space, sizeof space - 1) > 0)
        snprintf(ret_host, PROBE_HOST_SIZE, "%s/%s", boot, space);
}
