/*
 * The parts of litho-coordinator, opened in order and joined: the reactor's effects lead to disk,
 * network and the other threads. The loop that drives them is main.c's. One thread.
 */
#ifndef COORDINATOR_SERVER_H
#define COORDINATOR_SERVER_H

#include "coordinator/batch.h"
#include "coordinator/depot.h"
#include "coordinator/drawing.h"
#include "coordinator/gauges.h"
#include "coordinator/lobby.h"
#include "coordinator/server_options.h"
#include "monitoring/http.h"

struct server {
    struct coord coord;
    struct store *store;
    struct output *output;
    struct link *link;
    struct drawing *drawing;
    struct library *library;
    struct depot *depot; /* NULL: no files are looked for */
    struct gauges *gauges;
    struct http *http;
    struct batch batch;
    struct lobby lobby;
    int signals; /* descriptor */
    bool stop;
    int64_t turned_ms, ticked_ms, gauged_ms; /* when the loop last did so */
};

/* Claims the state folder, restores its jobs, listens, and publishes the endpoint there. On failure
 * too: server_close(). */
int server_open(struct server *s, const struct server_options *o, struct err *e);
void server_close(struct server *s, const struct server_options *o);

#endif
