#include "coordinator/server_options.h"

#include "proto/log.h"
#include "proto/version.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: litho-coordinator --listen ENDPOINT --state DIR --out DIR [options]\n"
    "\n"
    "Takes jobs from `litho submit`, leases their tasks to workers, and collects the pictures.\n"
    "\n"
    "  --listen ENDPOINT      tcp://127.0.0.1:PORT (port 0: any free one) or ipc://PATH\n"
    "  --state DIR            what outlives a restart: database, lock, bound endpoint\n"
    "  --out DIR              where pictures go\n"
    "  --models DIR           where the models are that manifests name; may be given several "
    "times.\n"
    "                         Default: the directories of LITHO_MODELS (colon separated), else\n"
    "                         ./models and those that came with the program. Workers fetch from\n"
    "                         there what they lack\n"
    "  --metrics ADDR:PORT    serve /metrics and /healthz there, loopback only\n"
    "  --empty-results        for measuring: take results without pictures, into a state folder "
    "of\n"
    "                         its own that no other coordinator opens\n"
    "  --heartbeat MS         peers send something at least this often (default 2000)\n"
    "  --silence MS           a peer silent for this long is gone (default 15000)\n"
    "  --grace MS             after a start, how long workers have to claim what they hold\n"
    "                         (default 6000)\n"
    "  --log-level LEVEL      debug, info (default), warn or error\n"
    "  --help, --version\n"
    "\n"
    "Exit codes: 0 stopped by a signal, 1 failure, 2 wrong options.\n";

/* text: what is wrong; NULL: getopt has said it. */
static int wrong_usage(const char *text)
{
    if (text)
        fprintf(stderr, "litho-coordinator: %s\n", text);
    fputs("Try 'litho-coordinator --help'.\n", stderr);
    return EXIT_USAGE;
}

static bool set_level(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            log_set_level((enum log_level)i);
            return true;
        }
    }
    return false;
}

/* Milliseconds as the wire may state them. */
static bool set_ms(const char *text, int64_t *ret_ms)
{
    char *end;

    errno = 0;
    *ret_ms = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && *ret_ms >= 1 && *ret_ms <= 3600000;
}

static bool times_fit(const struct server_options *o)
{
    int64_t heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : 2000;
    int64_t silence_ms = o->silence_ms ? o->silence_ms : 15000;

    return silence_ms >= 2 * heartbeat_ms;
}

int server_options_parse(int argc, char **argv, struct server_options *o)
{
    static const struct option longs[] = {
        {"listen", required_argument, NULL, 'l'},
        {"state", required_argument, NULL, 's'},
        {"out", required_argument, NULL, 'o'},
        {"metrics", required_argument, NULL, 'm'},
        {"models", required_argument, NULL, 'M'},
        {"heartbeat", required_argument, NULL, 'b'},
        {"silence", required_argument, NULL, 'q'},
        {"grace", required_argument, NULL, 'g'},
        {"log-level", required_argument, NULL, 'L'},
        {"help", no_argument, NULL, 'h'},
        {"empty-results", no_argument, NULL, 'E'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'l':
            o->listen = optarg;
            break;
        case 's':
            o->state = optarg;
            break;
        case 'o':
            o->out = optarg;
            break;
        case 'm':
            o->metrics = optarg;
            break;
        case 'M':
            if (o->n_directories == SERVER_MODELS_MAX)
                return wrong_usage("--models: too many directories");
            o->directories[o->n_directories++] = optarg;
            break;
        case 'E':
            o->empty_results = true;
            break;
        case 'b':
        case 'q':
        case 'g':
            if (!set_ms(optarg, c == 'b'   ? &o->heartbeat_ms
                                : c == 'q' ? &o->silence_ms
                                           : &o->grace_ms))
                return wrong_usage("--heartbeat, --silence and --grace take 1 to 3600000 (ms)");
            break;
        case 'L':
            if (!set_level(optarg))
                return wrong_usage("--log-level must be debug, info, warn or error");
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'V':
            puts("litho-coordinator " LITHO_VERSION);
            return 0;
        default:
            return wrong_usage(NULL);
        }
    }
    if (optind < argc)
        return wrong_usage("takes no arguments beside options");
    if (!o->listen || !o->state || !o->out)
        return wrong_usage("--listen, --state and --out are needed, as in --listen "
                           "tcp://127.0.0.1:7700 --state state --out out");
    if (!times_fit(o))
        return wrong_usage("--silence must be at least twice --heartbeat");
    return -1;
}
