/* What this machine offers for rendering, and whether a device that a user names exists. */
#ifndef WORKER_PROBE_H
#define WORKER_PROBE_H

#include "engine/engine.h"

#include <stdio.h>

#define PROBE_DEVICE_SIZE 256 /* bytes with NUL */

/*
 * The backend of a device's name: "cpu", "cuda:0" ("cuda" is the same), or "ref" (plain C, slow, to
 * compare with). ret_device: the number behind "cuda:", else 0. ERR_ARG for every other name.
 */
int probe_backend(const char *name, enum backend *ret_backend, int *ret_device, struct err *e);

struct probe {
    char device[PROBE_DEVICE_SIZE]; /* for people; "cpu: AMD EPYC 7B13" */
    char device_class[PROBE_DEVICE_SIZE];
    struct engine_offer offers[PRECISION_COUNT]; /* [n_offers]: what tasks may ask of it */
    size_t n_offers;
    uint64_t memory_bytes; /* a CUDA device's own; 0: the host's memory is used */
};

/* A device that is not there, or libraries that are not: ERR_ARG with the reason. */
int probe_device(enum backend backend, int device, struct probe *ret_probe, struct err *e);

/*
 * What --device may name, a line each: this machine's processor, then its CUDA devices, each with
 * its class or why it is none; without any, the reason.
 */
void probe_list(FILE *out);

/* Processors that this process may run on, 1 or more. */
int probe_threads(void);

/*
 * Names the place in which workers can meet as a gang: the machine since it started, and its
 * network namespace. "" if the system does not tell.
 */
#define PROBE_HOST_SIZE 100
void probe_host(char ret_host[PROBE_HOST_SIZE]);

#endif
