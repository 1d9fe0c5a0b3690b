/*
 * Serves GET /metrics (the last text published, Prometheus format) GET /healthz ("ok") and GET / (a
 * page that says so) on a loopback address, from threads of its own. It reads nothing of the
 * program: the program hands it finished texts. Of too many connections the oldest are closed, so
 * that callers who say nothing keep nobody out. Behind it: libmicrohttpd.
 *
 *     TRY(http_open("127.0.0.1:9464", &h, e));
 *     http_publish(h, &text);
 *     http_close(h);
 */
#ifndef MONITORING_HTTP_H
#define MONITORING_HTTP_H

#include "proto/buf.h"
#include "proto/err.h"

struct http;

/* address: 127.x.x.x:PORT, localhost:PORT or [::1]:PORT; port 0: any free one. Others are ERR_ARG.
 */
int http_open(const char *address, struct http **ret_http, struct err *e);
void http_close(struct http *h); /* NULL is legal */

/* "127.0.0.1:9464", with the real port. Borrowed. */
const char *http_address(const struct http *h);

/* Takes the text over and leaves it empty. Any thread. */
void http_publish(struct http *h, struct buf *text);

#endif
