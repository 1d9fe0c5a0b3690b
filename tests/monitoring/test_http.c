#include "monitoring/http.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct http *open_any(void)
{
    struct http *h = NULL;
    struct err e = {0};

    if (http_open("127.0.0.1:0", &h, &e) != 0)
        fail_msg("%s", e.text);
    return h;
}

static int connected(const struct http *h)
{
    const char *colon = strrchr(http_address(h), ':');
    struct sockaddr_in a = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *request)
{
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
}

static void hear_and_close(int fd, char *ret, size_t size)
{
    size_t n = 0;
    ssize_t got;

    while (n + 1 < size && (got = read(fd, ret + n, size - n - 1)) > 0)
        n += (size_t)got;
    ret[n] = 0;
    close(fd);
}

/* The whole answer to one request. */
static void ask(const struct http *h, const char *request, char *ret, size_t size)
{
    int fd = connected(h);

    say(fd, request);
    hear_and_close(fd, ret, size);
}

static void metrics_shows_the_last_text_published(void **state)
{
    struct http *h = open_any();
    struct buf text = {0};
    char answer[2048];

    (void)state;
    buf_puts(&text, "a 1\n");
    http_publish(h, &text);
    assert_int_equal(text.size, 0);
    buf_puts(&text, "a 2\n");
    http_publish(h, &text);
    ask(h, "GET /metrics HTTP/1.0\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "200"));
    assert_non_null(strstr(answer, "text/plain; version=0.0.4"));
    assert_non_null(strstr(answer, "\r\n\r\na 2\n"));
    http_close(h);
}

static void a_browser_is_shown_where_to_look(void **state)
{
    struct http *h = open_any();
    char answer[2048];

    (void)state;
    ask(h, "GET / HTTP/1.0\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "200"));
    assert_non_null(strstr(answer, "text/html"));
    assert_non_null(strstr(answer, "href=\"/metrics\""));
    http_close(h);
}

static void other_pages_and_methods_are_refused(void **state)
{
    struct http *h = open_any();
    char answer[2048];

    (void)state;
    ask(h, "GET /healthz HTTP/1.0\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "\r\n\r\nok\n"));
    ask(h, "GET /etc/passwd HTTP/1.0\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "404"));
    ask(h, "DELETE /metrics HTTP/1.0\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "405"));
    http_close(h);
}

static void only_loopback_addresses_are_served(void **state)
{
    static const char *const wrong[] = {"0.0.0.0:0",     "192.168.1.1:80", "[::]:0",
                                        "example.org:1", "127.0.0.1",      "127.0.0.1:x",
                                        "127.0.0.1:-1",  "127.0.0.1:65536"};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct http *h = NULL;
        struct err e = {0};

        assert_int_equal(http_open(wrong[i], &h, &e), ERR_ARG);
        assert_non_null(strstr(e.text, wrong[i]));
    }
}

/* Nothing but the server's lock is between the two threads, for ThreadSanitizer to see: writing to
 * any socket would order them. */
static void a_text_published_during_a_request_is_the_answer_or_the_one_before(void **state)
{
    struct http *h = open_any();
    struct buf text = {0};
    char answer[2048];
    int fd;

    (void)state;
    buf_puts(&text, "a 1\n");
    http_publish(h, &text);
    buf_puts(&text, "a 2\n");
    fd = connected(h);
    say(fd, "GET /metrics HTTP/1.0\r\n\r\n");
    http_publish(h, &text);
    hear_and_close(fd, answer, sizeof answer);
    assert_true(strstr(answer, "\r\n\r\na 1\n") || strstr(answer, "\r\n\r\na 2\n"));
    http_close(h);
}

/* Most of them are let go for those who came after; the youngest may still say what they want. */
static void callers_that_say_nothing_or_half_keep_nobody_out(void **state)
{
    enum { SILENT = 100, YOUNG = 90 };
    struct http *h = open_any();
    char answer[2048], byte;
    int fds[SILENT];

    (void)state;
    for (int i = 0; i < SILENT; i++) {
        fds[i] = connected(h);
        if (i % 2)
            say(fds[i], "GET /metr");
    }
    ask(h, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "ok\n"));
    assert_int_equal(recv(fds[YOUNG], &byte, 1, MSG_DONTWAIT), -1); /* still open */
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
    http_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_shows_the_last_text_published),
        cmocka_unit_test(a_text_published_during_a_request_is_the_answer_or_the_one_before),
        cmocka_unit_test(a_browser_is_shown_where_to_look),
        cmocka_unit_test(other_pages_and_methods_are_refused),
        cmocka_unit_test(only_loopback_addresses_are_served),
        cmocka_unit_test(callers_that_say_nothing_or_half_keep_nobody_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
