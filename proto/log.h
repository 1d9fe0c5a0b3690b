/*
 * One-line logs on standard error, `2026-05-04T12:00:00Z info event key=value ...`, for the
 * programs' main files only: libraries return errors, they do not print. Safe from any thread (one
 * write per line).
 *
 *     log_info("worker_joined", "name=%s device=%s", name, device);
 */
#ifndef PROTO_LOG_H
#define PROTO_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Lines below this level are dropped. Default LOG_INFO. Call before threads start. */
void log_set_level(enum log_level level);

/* event: one word. format: the key=value part, may be "". Control characters are escaped. */
void log_line(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

#endif
