#include "worker/probe.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int probe_backend(const char *device, enum backend *ret_backend, struct err *e)
{
    if (strcmp(device, "cpu") == 0) {
        *ret_backend = BACKEND_CPU;
        return 0;
    }
    if (strcmp(device, "ref") == 0) {
        *ret_backend = BACKEND_REF;
        return 0;
    }
    if (strncmp(device, "cuda", 4) == 0)
        return err_set(e, ERR_ARG, "device '%s': this build has no CUDA; it renders on 'cpu'",
                       device);
    return err_set(e, ERR_ARG, "device '%s' is unknown: this build has 'cpu' and 'ref'", device);
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

void probe_device(enum backend backend, char ret_device[PROBE_DEVICE_SIZE])
{
    const char *kind = backend == BACKEND_REF ? "ref" : "cpu";
    char name[200];

    processor_name(name, sizeof name);
    snprintf(ret_device, PROBE_DEVICE_SIZE, "%s%s%s", kind, name[0] ? ": " : "", name);
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
