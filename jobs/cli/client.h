/*
 * One request, one answer: a client's connection to the coordinator (proto/PROTOCOL.md).
 *
 * Requests can be repeated without harm, so a request is sent again, after a new hello, when the
 * coordinator was restarted meanwhile or is slow. Use from one thread.
 *
 *     struct client_options o = {.endpoint = "tcp://127.0.0.1:5555", .timeout_ms = 5000};
 *     TRY(client_open(&o, &client, e));
 *     request = (struct msg){.type = MSG_STATUS, .status = {.job = "stickers"}};
 *     TRY(client_ask(client, &request, MSG_JOB, &answer, e));
 *     msg_done(&answer);
 *     client_close(client);
 */
#ifndef JOBS_CLI_CLIENT_H
#define JOBS_CLI_CLIENT_H

#include "proto/err.h"
#include "proto/msg.h"

struct client;

struct client_options {
    const char *endpoint; /* borrowed while the client lives */
    int timeout_ms;       /* how long an answer may take */
    /* Called at least every 100 ms while waiting, may be NULL; not 0 ends the wait with its error.
     */
    int (*check)(void *user, struct err *e);
    void *user;
};

/* Connects and waits for the welcome. ERR_TIMEOUT: nobody answers there. ERR_CONFLICT: a
 * coordinator of another protocol version. */
int client_open(const struct client_options *o, struct client **ret_client, struct err *e);

/*
 * Sends the request (its `request` number is filled in) and waits for the answer, which must be of
 * type `wanted`. An error answer becomes e. ret_answer: msg_done(); its strings hold no control
 * characters (proto/plain.h); its png borrows from the client until the next call. Whatever else
 * the coordinator sends meanwhile, the wait ends as the options say.
 */
int client_ask(struct client *c, struct msg *request, enum msg_type wanted, struct msg *ret_answer,
               struct err *e);

/*
 * ret_next: where the next page begins, 0 after the last one. ERR_INPUT: a page that does not lead
 * on from `from`, so that following it would never end.
 */
int client_page(const struct client *c, uint64_t from, uint64_t next, uint64_t *ret_next,
                struct err *e);

/* Lets time pass while answering heartbeats; ends early, with check's error, when check says so. */
int client_pause(struct client *c, int pause_ms, struct err *e);

/* Takes leave. NULL is legal. */
void client_close(struct client *c);

#endif
