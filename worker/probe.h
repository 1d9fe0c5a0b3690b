/* What this machine offers for rendering, and whether a device that a user names exists. */
#ifndef WORKER_PROBE_H
#define WORKER_PROBE_H

#include "engine/engine.h"

#define PROBE_DEVICE_SIZE 256 /* bytes with NUL */

/*
 * The backend of a device's name: "cpu", or "ref" (plain C, slow, to compare with). ERR_ARG for
 * every other name, with the reason: this build has no CUDA.
 */
int probe_backend(const char *device, enum backend *ret_backend, struct err *e);

/* "cpu: AMD EPYC 7B13", for people; without the model's name where the system does not tell. */
void probe_device(enum backend backend, char ret_device[PROBE_DEVICE_SIZE]);

/* Processors that this process may run on, 1 or more. */
int probe_threads(void);

/*
 * Names the place in which workers can meet as a gang: the machine since it started, and its
 * network namespace. "" if the system does not tell.
 */
#define PROBE_HOST_SIZE 100
void probe_host(char ret_host[PROBE_HOST_SIZE]);

#endif
