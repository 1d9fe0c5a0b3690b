/*
 * Ctrl-C as a number: how often the user (or the system, by SIGTERM or SIGHUP) has asked to stop.
 * Signals are process-wide by nature, hence the one hidden counter.
 */
#ifndef JOBS_CLI_INTERRUPTS_H
#define JOBS_CLI_INTERRUPTS_H

#include "proto/err.h"

/* From now on SIGINT, SIGTERM and SIGHUP are counted, and waits return early. */
int interrupts_catch(struct err *e);

/* 0: go on; 1: stop in good order; more: stop now. */
int interrupts_count(void);

#endif
