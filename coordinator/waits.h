/*
 * Why a job makes no progress though workers are connected: as a reason that its status shows. Part
 * of the reactor, which asks at the end of reactor_schedule.
 */
#ifndef COORDINATOR_WAITS_H
#define COORDINATOR_WAITS_H

#include "coordinator/coord.h"

/*
 * Each job of which nothing runs says that no workers can form its gangs, or that none renders the
 * precision of what is left; once one can, it says that no more. Other reasons are left alone.
 */
int waits_tell(const struct coord *c, int64_t now_ms, struct err *e);

#endif
