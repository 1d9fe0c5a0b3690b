#include "monitoring/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>

#define CALLERS_MAX  16  /* one more, and the one that has been there for longest goes */
#define LEAVING_MAX  16  /* told to go, and not yet gone */
#define TIMEOUT_S    60u /* of an idle connection */
#define ADDRESS_SIZE 80

struct http {
    struct MHD_Daemon *daemon;
    char address[ADDRESS_SIZE];
    struct MHD_Connection *callers[CALLERS_MAX]; /* oldest first; the server's thread's */
    size_t n_callers;
    struct {
        pthread_mutex_t mutex;
        char *text; /* owned */
        size_t size;
    } shared;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int parse_port(const char *text, uint16_t *ret_port)
{
    char *end;
    unsigned long port;

    if (text[0] < '0' || text[0] > '9')
        return -1;
    errno = 0;
    port = strtoul(text, &end, 10);
    if (*end || errno || port > 65535)
        return -1;
    *ret_port = (uint16_t)port;
    return 0;
}

static int parse_address(const char *address, union address *ret, struct err *e)
{
    const char *colon = strrchr(address, ':');
    char host[64];
    uint16_t port;

    memset(ret, 0, sizeof *ret);
    if (!colon || (size_t)(colon - address) >= sizeof host || parse_port(colon + 1, &port) != 0)
        return err_set(e, ERR_ARG, "metrics address '%s' must be ADDRESS:PORT", address);
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    if (strcmp(host, "localhost") == 0)
        snprintf(host, sizeof host, "127.0.0.1");
    if (strcmp(host, "[::1]") == 0) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_addr = in6addr_loopback;
        ret->v6.sin6_port = htons(port);
        return 0;
    }
    if (inet_pton(AF_INET, host, &ret->v4.sin_addr) != 1 ||
        ntohl(ret->v4.sin_addr.s_addr) >> 24 != 127)
        return err_set(e, ERR_ARG,
                       "metrics address '%s' is not a loopback address: the page is open to all "
                       "who reach it",
                       address);
    ret->v4.sin_family = AF_INET;
    ret->v4.sin_port = htons(port);
    return 0;
}

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, const char *type,
                               const char *text, size_t size)
{
    struct MHD_Response *response;
    enum MHD_Result result = MHD_NO;

    response = MHD_create_response_from_buffer(size, (void *)text, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    if (MHD_add_response_header(response, "Content-Type", type) == MHD_YES)
        result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result respond_metrics(struct http *h, struct MHD_Connection *connection)
{
    enum MHD_Result result;

    pthread_mutex_lock(&h->shared.mutex);
    result = respond(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                     h->shared.text ? h->shared.text : "", h->shared.size);
    pthread_mutex_unlock(&h->shared.mutex);
    return result;
}

/* What a browser is shown: where to look, since pictures and jobs are not told here. */
static const char front[] =
    "<!doctype html><title>litho-coordinator</title>\n"
    "<p>This is litho-coordinator. <a href=\"/metrics\">/metrics</a> is for Prometheus, "
    "<a href=\"/healthz\">/healthz</a> for a probe.</p>\n"
    "<p>Jobs: <code>litho list</code>, <code>litho status JOB</code>, <code>litho watch "
    "JOB</code>; "
    "workers: <code>litho workers</code>.</p>\n";

static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_size, void **state)
{
    struct http *h = user;

    (void)version;
    (void)data;
    (void)state;
    if (*data_size > 0) { /* a body nobody wants */
        *data_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return respond(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "GET only\n", 9);
    if (strcmp(url, "/metrics") == 0)
        return respond_metrics(h, connection);
    if (strcmp(url, "/healthz") == 0)
        return respond(connection, MHD_HTTP_OK, "text/plain", "ok\n", 3);
    if (strcmp(url, "/") == 0)
        return respond(connection, MHD_HTTP_OK, "text/html; charset=utf-8", front, strlen(front));
    return respond(connection, MHD_HTTP_NOT_FOUND, "text/plain", "/metrics or /healthz\n", 21);
}

static void drop_caller(struct http *h, size_t i)
{
    h->n_callers--;
    memmove(&h->callers[i], &h->callers[i + 1], (h->n_callers - i) * sizeof *h->callers);
}

/* Who says nothing, or a byte now and then, keeps nobody out: a request is asked at once. */
static void come_and_go(void *user, struct MHD_Connection *connection, void **socket_context,
                        enum MHD_ConnectionNotificationCode what)
{
    const union MHD_ConnectionInfo *info;
    struct http *h = user;

    (void)socket_context;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        for (size_t i = 0; i < h->n_callers; i++)
            if (h->callers[i] == connection) {
                drop_caller(h, i);
                break;
            }
        return;
    }
    if (h->n_callers == CALLERS_MAX) {
        info = MHD_get_connection_info(h->callers[0], MHD_CONNECTION_INFO_CONNECTION_FD);
        if (info)
            shutdown(info->connect_fd, SHUT_RDWR);
        drop_caller(h, 0);
    }
    h->callers[h->n_callers++] = connection;
}

static void name_address(struct http *h, const union address *address)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    bool v6 = address->any.sa_family == AF_INET6;
    char host[INET6_ADDRSTRLEN] = "";

    inet_ntop(address->any.sa_family,
              v6 ? (const void *)&address->v6.sin6_addr : (const void *)&address->v4.sin_addr, host,
              sizeof host);
    snprintf(h->address, sizeof h->address, v6 ? "[%s]:%u" : "%s:%u", host,
             info ? (unsigned)info->port : 0u);
}

int http_open(const char *address, struct http **ret_http, struct err *e)
{
    struct http *h = NULL;
    union address where;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD;
    int rc;

    TRY(parse_address(address, &where, e));
    h = calloc(1, sizeof *h);
    if (!h || pthread_mutex_init(&h->shared.mutex, NULL) != 0) {
        free(h);
        return err_set(e, ERR_OOM, "no memory for the metrics server");
    }
    if (where.any.sa_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, h, MHD_OPTION_SOCK_ADDR, &where.any,
                                 MHD_OPTION_CONNECTION_LIMIT, CALLERS_MAX + LEAVING_MAX,
                                 MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S,
                                 MHD_OPTION_NOTIFY_CONNECTION, come_and_go, h, MHD_OPTION_END);
    if (!h->daemon)
        TRY(err_set(e, ERR_IO, "cannot serve metrics at %s: %s", address, strerror(errno)));
    name_address(h, &where);
    *ret_http = h;
    h = NULL;
out:
    http_close(h);
    return rc;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    pthread_mutex_destroy(&h->shared.mutex);
    free(h->shared.text);
    free(h);
}

const char *http_address(const struct http *h)
{
    return h->address;
}

void http_publish(struct http *h, struct buf *text)
{
    size_t size = text->size;
    char *old, *fresh = buf_detach(text);

    pthread_mutex_lock(&h->shared.mutex);
    old = h->shared.text;
    h->shared.text = fresh;
    h->shared.size = fresh ? size : 0;
    pthread_mutex_unlock(&h->shared.mutex);
    free(old);
}
