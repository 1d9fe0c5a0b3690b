#include "worker/options.h"

#include "engine/gang/gang.h"
#include "jobs/conduct.h"
#include "proto/buf.h"
#include "worker/probe.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const options_help =
    "litho-worker renders pictures for a Lithograph coordinator.\n"
    "\n"
    "usage: litho-worker --connect ENDPOINT [options]\n"
    "       litho-worker --devices\n"
    "       litho-worker --plan [TASKS] [--model NAME] [--size WxH] [--set KEY=VALUE] [options]\n"
    "\n"
    "  -c, --connect ENDPOINT  the coordinator: tcp://127.0.0.1:PORT or ipc://PATH\n"
    "                          (default: LITHO_CONNECT)\n"
    "  -n, --name NAME         what lists and records call this worker (default: HOST:PID)\n"
    "  -m, --models DIR        where models are; may be given several times. Default: the\n"
    "                          directories of LITHO_MODELS (colon separated), else ./models and\n"
    "                          those that came with the program\n"
    "  -d, --device DEVICE     cpu, cuda:0 (or another number), or ref: plain C, slow, to compare "
    "with\n"
    "                          (default: cpu)\n"
    "      --devices           print what --device may be on this machine, and end\n"
    "  -t, --threads N         of one render (default: the processors it may use). Pictures do\n"
    "                          not depend on it\n"
    "      --memory SIZE       budget for the weights and one render, such as 4G; what does not\n"
    "                          fit is refused with the numbers (default: no limit)\n"
    "      --credits N         leases held at a time: one renders, the others wait (default: 2)\n"
    "      --batch N           pictures of one model, size and sampler rendered together; takes\n"
    "                          more memory, changes no byte (default: 4, for small pictures:\n"
    "                          128x128 and less; larger ones one by one)\n"
    "      --time-limit TIME   such as 90s, 55m, 12h: then it finishes what it renders, hands "
    "back\n"
    "                          the rest, and ends with exit code 0 (default: none)\n"
    "      --keep SIZE         memory for results that the coordinator has not acknowledged\n"
    "                          (default: 256M)\n"
    "      --spill SIZE        disk for those beyond, 0: none (default: 1G)\n"
    "      --spill-dir DIR     where (default: TMPDIR, else /tmp)\n"
    "      --cache-dir DIR     for files fetched from the coordinator; workers may share one\n"
    "                          (default: litho in XDG_CACHE_HOME, else ~/.cache/litho)\n"
    "      --cache-size SIZE   of its files at most; what is unused for longest is removed\n"
    "                          (default: 50G)\n"
    "      --no-shared-files   fetch every file that the coordinator has, also those that the\n"
    "                          directories of --models have with the same bytes\n"
    "      --gang-address ADDRESS[:FIRST-LAST]\n"
    "                          where members of a gang on other machines reach this worker; "
    "without\n"
    "                          it gangs are of workers of one machine. What they say is not\n"
    "                          encrypted: loopback addresses only, other machines by a tunnel.\n"
    "                          FIRST-LAST: at these ports, two or more for each worker (default:\n"
    "                          any that is free)\n"
    "      --hashes FILE       hashes of files that did not change since, such as hashes in the\n"
    "                          state folder of a coordinator on this machine: spares reading\n"
    "                          models once more (default: none)\n"
    "      --log-level LEVEL   debug, info, warn or error (default: info)\n"
    "      --plan              print the memory that a task would take at its peak, and end.\n"
    "                          TASKS: a file with the JSON of one task a line, - for standard\n"
    "                          input; without it a task of default values. Nothing is rendered\n"
    "      --model NAME, --size WxH, --set KEY=VALUE\n"
    "                          of --plan: change the task; --set may be given several times\n"
    "      --json              of --plan: one JSON document a task, bytes\n"
    "  -h, --help\n"
    "      --version\n"
    "\n"
    "It stays until SIGTERM or SIGINT (Ctrl-C): then it hands its leases back, waits some seconds\n"
    "until its results are acknowledged, and ends. A second signal ends it at once. While the\n"
    "coordinator is away it goes on rendering, keeps the results, and connects again by itself.\n"
    "\n"
    "A GPU that works no more (an illegal address, say) is lost to the process, not to the "
    "machine:\n"
    "the worker hands its leases back and starts itself again. If it lost the GPU before it had\n"
    "finished a picture, it ends with exit code 3 instead.\n"
    "\n"
    "Exit codes: 0 ended on request; 1 failed, or refused by the coordinator (another protocol\n"
    "version); 2 wrong usage; 3 the GPU was lost, see above. Logs go to standard error, one line "
    "an event.\n";

enum {
    OPTION_MEMORY = 256,
    OPTION_CREDITS,
    OPTION_BATCH,
    OPTION_LOG_LEVEL,
    OPTION_VERSION,
    OPTION_PLAN,
    OPTION_DEVICES,
    OPTION_MODEL,
    OPTION_SIZE,
    OPTION_SET,
    OPTION_JSON,
    OPTION_TIME_LIMIT,
    OPTION_KEEP,
    OPTION_SPILL,
    OPTION_SPILL_DIR,
    OPTION_CACHE_DIR,
    OPTION_CACHE_SIZE,
    OPTION_NO_SHARED_FILES,
    OPTION_HASHES,
    OPTION_GANG_ADDRESS
};

static const struct option long_options[] = {
    {"connect", required_argument, NULL, 'c'},
    {"name", required_argument, NULL, 'n'},
    {"models", required_argument, NULL, 'm'},
    {"device", required_argument, NULL, 'd'},
    {"threads", required_argument, NULL, 't'},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"credits", required_argument, NULL, OPTION_CREDITS},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"plan", no_argument, NULL, OPTION_PLAN},
    {"devices", no_argument, NULL, OPTION_DEVICES},
    {"model", required_argument, NULL, OPTION_MODEL},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"set", required_argument, NULL, OPTION_SET},
    {"json", no_argument, NULL, OPTION_JSON},
    {"time-limit", required_argument, NULL, OPTION_TIME_LIMIT},
    {"keep", required_argument, NULL, OPTION_KEEP},
    {"spill", required_argument, NULL, OPTION_SPILL},
    {"spill-dir", required_argument, NULL, OPTION_SPILL_DIR},
    {"cache-dir", required_argument, NULL, OPTION_CACHE_DIR},
    {"cache-size", required_argument, NULL, OPTION_CACHE_SIZE},
    {"gang-address", required_argument, NULL, OPTION_GANG_ADDRESS},
    {"no-shared-files", no_argument, NULL, OPTION_NO_SHARED_FILES},
    {"hashes", required_argument, NULL, OPTION_HASHES},
    {0},
};

static int number(const char *option, const char *text, long min, long max, long *ret_value,
                  struct err *e)
{
    char *rest;
    long value;

    errno = 0;
    value = strtol(text, &rest, 10);
    if (errno || rest == text || *rest || value < min || value > max)
        return err_set(e, ERR_ARG, "%s: '%s' is not a number from %ld to %ld", option, text, min,
                       max);
    *ret_value = value;
    return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes, struct err *e)
{
    static const char units[] = "kmgt";
    char *rest;
    const char *unit;
    double value = strtod(text, &rest);
    int shift = 0;

    if (rest != text && *rest) {
        unit = strchr(units, *rest | 0x20);
        shift = unit ? 10 * (int)(unit - units + 1) : 0;
        rest += unit != NULL;
    }
    value *= (double)(UINT64_C(1) << shift);
    if (rest == text || *rest || !(value >= 0 && value < 1e18))
        return err_set(e, ERR_ARG, "'%s' is not a size such as 4G, 512M or a number of bytes",
                       text);
    *ret_bytes = (uint64_t)value;
    return 0;
}

static int level(const char *text, enum log_level *ret_level, struct err *e)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return err_set(e, ERR_ARG, "--log-level: '%s' is not debug, info, warn or error", text);
}

static int add(const char ***list, size_t *n, const char *text, struct err *e)
{
    const char **grown = realloc(*list, (*n + 1) * sizeof *grown);

    if (!grown)
        return err_set(e, ERR_OOM, "out of memory for options");
    *list = grown;
    grown[(*n)++] = text;
    return 0;
}

static int set_name(struct options *o, const char *name, struct err *e)
{
    size_t size = strlen(name);

    if (size < 1 || size > OPTIONS_NAME_MAX)
        return err_set(e, ERR_ARG, "--name: must have 1 to %d bytes", OPTIONS_NAME_MAX);
    for (size_t i = 0; i < size; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return err_set(e, ERR_ARG, "--name: only visible ASCII characters, no spaces");
    free(o->name);
    o->name = strdup(name);
    return o->name ? 0 : err_set(e, ERR_OOM, "out of memory for options");
}

static int default_name(struct options *o, struct err *e)
{
    char host[OPTIONS_NAME_MAX / 2] = "";
    struct buf name = {0};
    int rc;

    gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        if (*p <= ' ' || *p > '~')
            *p = '-';
    buf_printf(&name, "%s:%ld", host[0] ? host : "worker", (long)getpid());
    TRY(buf_check(&name, e));
    TRY(set_name(o, buf_text(&name), e));
out:
    buf_done(&name);
    return rc;
}

/* Absolute: links lead there. */
static int set_cache(struct options *o, const char *folder, struct err *e)
{
    char here[4096] = "";
    struct buf path = {0};
    int rc = 0;

    if (*folder != '/' && !getcwd(here, sizeof here))
        TRY(err_errno(e, "the working folder"));
    buf_printf(&path, "%s%s%s", here, *here ? "/" : "", folder);
    TRY(buf_check(&path, e));
    free(o->cache_folder);
    o->cache_folder = buf_detach(&path);
    if (!o->cache_folder)
        TRY(err_set(e, ERR_OOM, "out of memory for options"));
out:
    buf_done(&path);
    return rc;
}

static int default_cache(struct options *o, struct err *e)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct buf path = {0};
    int rc;

    if (base && *base == '/')
        buf_printf(&path, "%s/litho", base);
    else if (home && *home == '/')
        buf_printf(&path, "%s/.cache/litho", home);
    else
        buf_printf(&path, "/tmp/litho-cache-%ld", (long)getuid());
    TRY(buf_check(&path, e));
    TRY(set_cache(o, buf_text(&path), e));
out:
    buf_done(&path);
    return rc;
}

static int set(struct options *o, int option, char **argv, struct err *e)
{
    long value = 0;
    int rc = 0;

    switch (option) {
    case 'c':
        o->connect = optarg;
        return 0;
    case 'n':
        return set_name(o, optarg, e);
    case 'm':
        return add(&o->directories, &o->n_directories, optarg, e);
    case 'd':
        return probe_backend(optarg, &o->backend, &o->device, e);
    case 't':
        rc = number("--threads", optarg, 1, OPTIONS_THREADS_MAX, &value, e);
        o->threads = (int)value;
        return rc;
    case OPTION_TIME_LIMIT:
        rc = conduct_duration_parse(optarg, &o->time_limit_s, e);
        return rc ? err_set(e, ERR_ARG, "--time-limit: %s", e ? e->text : "") : 0;
    case OPTION_KEEP:
        return size_parse(optarg, &o->keep_bytes, e);
    case OPTION_SPILL:
        return size_parse(optarg, &o->spill_bytes, e);
    case OPTION_SPILL_DIR:
        o->spill_folder = optarg;
        return 0;
    case OPTION_CACHE_DIR:
        o->cache_chosen = true;
        return set_cache(o, optarg, e);
    case OPTION_CACHE_SIZE:
        return size_parse(optarg, &o->cache_bytes, e);
    case OPTION_HASHES:
        o->hashes = optarg;
        return 0;
    case OPTION_GANG_ADDRESS:
        o->gang_address = optarg;
        rc = gang_address_check(optarg, e);
        return rc ? err_set(e, ERR_ARG, "--gang-address: %s", e ? e->text : "") : 0;
    case OPTION_NO_SHARED_FILES:
        o->own_files = false;
        return 0;
    case OPTION_MEMORY:
        return size_parse(optarg, &o->memory_bytes, e);
    case OPTION_CREDITS:
        rc = number("--credits", optarg, 1, OPTIONS_CREDITS_MAX, &value, e);
        o->credits = (uint32_t)value;
        return rc;
    case OPTION_BATCH:
        rc = number("--batch", optarg, 1, OPTIONS_BATCH_MAX, &value, e);
        o->batch = (uint32_t)value;
        o->batch_pixels = 0;
        return rc;
    case OPTION_LOG_LEVEL:
        return level(optarg, &o->log_level, e);
    case 'h':
        o->help = true;
        return 0;
    case OPTION_VERSION:
        o->version = true;
        return 0;
    case OPTION_PLAN:
        o->plan = true;
        return 0;
    case OPTION_DEVICES:
        o->list_devices = true;
        return 0;
    case OPTION_MODEL:
        o->model = optarg;
        return 0;
    case OPTION_SIZE:
        o->size = optarg;
        return 0;
    case OPTION_SET:
        return add(&o->sets, &o->n_sets, optarg, e);
    case OPTION_JSON:
        o->json = true;
        return 0;
    case ':':
        return err_set(e, ERR_ARG, "option '%s' needs a value", argv[optind - 1]);
    default:
        return err_set(e, ERR_ARG, "unknown option '%s'", argv[optind - 1]);
    }
}

int options_parse(int argc, char **argv, struct options *ret_o, struct err *e)
{
    struct options *o = ret_o;
    int option, rc = 0;

    *o = (struct options){.credits = 2,
                          .batch = OPTIONS_BATCH,
                          .batch_pixels = OPTIONS_BATCH_PIXELS,
                          .spill_bytes = UINT64_C(1) << 30,
                          .cache_bytes = UINT64_C(50) << 30,
                          .own_files = true,
                          .log_level = LOG_INFO};
    optind = 0; /* glibc: scan from the start, also when called again */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":c:n:m:d:t:h", long_options, NULL)) != -1)
        TRY(set(o, option, argv, e));
    if (o->help || o->version || o->list_devices)
        return 0;
    if (o->plan && optind < argc)
        o->tasks = argv[optind++];
    if (optind < argc)
        TRY(err_set(e, ERR_ARG, "unexpected argument '%s'", argv[optind]));
    if (!o->threads)
        o->threads = probe_threads();
    if (o->plan)
        return 0;
    if (o->model || o->size || o->n_sets || o->json)
        TRY(err_set(e, ERR_ARG, "--model, --size, --set and --json belong to --plan"));
    if (!o->connect)
        o->connect = getenv("LITHO_CONNECT");
    if (!o->connect || !*o->connect)
        TRY(err_set(e, ERR_ARG, "which coordinator? give --connect ENDPOINT or set LITHO_CONNECT"));
    if (!o->name)
        TRY(default_name(o, e));
    if (!o->cache_folder)
        TRY(default_cache(o, e));
out:
    return rc;
}

void options_done(struct options *o)
{
    free(o->name);
    free(o->cache_folder);
    free(o->directories);
    free(o->sets);
    *o = (struct options){0};
}
