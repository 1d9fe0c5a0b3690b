#include "jobs/cli/cli.h"

#include "jobs/suggest.h"
#include "proto/json.h"
#include "proto/plain.h"
#include "proto/version.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

struct command {
    const char *name, *arguments, *summary;
    const char *more;   /* paragraph of `litho help NAME` */
    unsigned options;   /* OPTION_BITs beside --help */
    size_t n_arguments; /* exactly */
    int (*run)(struct cli *c);
};

#define MANIFEST_OPTIONS (OPTION_BIT(OPTION_SET) | OPTION_BIT(OPTION_MODEL))
#define SERVER_OPTIONS   (OPTION_BIT(OPTION_CONNECT) | OPTION_BIT(OPTION_JSON))

static const struct command commands[] = {
    {"plan", "JOB.yaml",
     "what a manifest would render: images, models, memory, disk, time; renders nothing",
     "Exit code 2 and every mistake with file:line:column if the manifest has any, 1 if a model, "
     "a\n"
     "LoRA or a picture is missing or broken. Memory is asked of a litho-worker of this machine, "
     "for "
     "the\n"
     "largest sizes. Disk and time come from what earlier runs into the same folder took.",
     MANIFEST_OPTIONS | OPTION_BIT(OPTION_OUT) | OPTION_BIT(OPTION_MODELS) |
         OPTION_BIT(OPTION_JSON),
     1, command_plan},
    {"run", "JOB.yaml", "render a manifest here and now, on a cluster of its own",
     "The same command again renders only what is missing; Ctrl-C stops in good order. Exit code "
     "0\n"
     "if every picture is there, 1 if not, 2 for a wrong manifest or command line, 130 after "
     "Ctrl-C.",
     MANIFEST_OPTIONS | OPTION_BIT(OPTION_OUT) | OPTION_BIT(OPTION_MODELS) |
         OPTION_BIT(OPTION_WORKERS) | OPTION_BIT(OPTION_THREADS) | OPTION_BIT(OPTION_FORCE) |
         OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_QUIET),
     1, command_run},
    {"submit", "JOB.yaml", "hand a manifest to a running coordinator",
     "Lists and CSV files travel along, and seeds that the manifest leaves open are drawn now. "
     "Models\n"
     "are looked for on the coordinator's machine, which workers fetch them from.",
     MANIFEST_OPTIONS | SERVER_OPTIONS | OPTION_BIT(OPTION_WAIT) | OPTION_BIT(OPTION_TOKEN) |
         OPTION_BIT(OPTION_PRIORITY) | OPTION_BIT(OPTION_FORCE) | OPTION_BIT(OPTION_QUIET),
     1, command_submit},
    {"list", "", "the coordinator's jobs, latest first", "", SERVER_OPTIONS, 0, command_list},
    {"status", "JOB", "one job: counts, running tasks, failures",
     "JOB is the job's hash, at least 4 digits that begin only this one, or its name (the latest).",
     SERVER_OPTIONS, 1, command_status},
    {"watch", "JOB", "follow a job until it is done",
     "Exit code 0 if every picture is there, 1 if not. A coordinator that goes away is waited for.",
     SERVER_OPTIONS | OPTION_BIT(OPTION_QUIET), 1, command_watch},
    {"cancel", "JOB", "stop a job; its pictures stay", "Submit the same job again to go on.",
     SERVER_OPTIONS, 1, command_cancel},
    {"pause", "JOB", "give out no more of a job's tasks",
     "What workers are at is finished. `litho resume` goes on.", SERVER_OPTIONS, 1, command_pause},
    {"resume", "JOB", "go on with a paused job", "", SERVER_OPTIONS, 1, command_resume},
    {"retry", "JOB", "render again what failed or is gone",
     "A job that still runs: what failed until now.", SERVER_OPTIONS | OPTION_BIT(OPTION_FAILED), 1,
     command_retry},
    {"logs", "JOB INDEX", "the attempts of one task: worker, outcome, times", "", SERVER_OPTIONS, 2,
     command_logs},
    {"get", "JOB DIR", "bring a job's pictures to this machine",
     "Each file is verified by its SHA-256. The same command again brings only what is missing. A "
     "file\n"
     "that differs stays, and is named, but with --force. Exit code 0 if every picture of the job "
     "so far\n"
     "is in DIR.",
     SERVER_OPTIONS | OPTION_BIT(OPTION_REPLACE) | OPTION_BIT(OPTION_QUIET), 2, command_get},
    {"fsck", "JOB", "compare a job's files with their records",
     "Reads every picture on the coordinator's machine. Exit code 1 if a file is gone or differs: "
     "`litho\n"
     "retry` renders again what is gone.",
     SERVER_OPTIONS, 1, command_fsck},
    {"rm", "JOB", "forget a job that is over; its files stay", "", SERVER_OPTIONS, 1, command_rm},
    {"drain", "WORKER", "let a worker finish what it is at, and leave",
     "It takes no more, hands back what it has not begun, and ends with exit code 0.",
     SERVER_OPTIONS, 1, command_drain},
    {"workers", "", "who renders, on what, and what they are at", "", SERVER_OPTIONS, 0,
     command_workers},
    {"replay", "IMAGE.png", "render a picture again from the record inside it",
     "With --verify: exit code 0 if the pixels are equal, 1 if not, and what differs from the "
     "record\n"
     "(model files, engine, precision, device class). No file is ever overwritten.",
     OPTION_BIT(OPTION_VERIFY) | OPTION_BIT(OPTION_OUT_FILE) | OPTION_BIT(OPTION_MODEL) |
         OPTION_BIT(OPTION_MODELS) | OPTION_BIT(OPTION_THREADS) | OPTION_BIT(OPTION_JSON) |
         OPTION_BIT(OPTION_QUIET),
     1, command_replay},
};

#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

/* Line by line: a message may quote a file's or a peer's text. */
static void print_plain(FILE *file, char *text)
{
    for (char *line = text, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        plain_text(line);
        fprintf(file, "%s\n", line);
    }
    fflush(file);
}

void cli_note(struct cli *c, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    fprintf(c->err.file, "%slitho:%s ", style(&c->err, STYLE_BOLD), style(&c->err, STYLE_OFF));
    print_plain(c->err.file, text);
    free(text);
}

int cli_fail(struct cli *c, const struct err *e)
{
    char text[ERR_TEXT_MAX];
    size_t size = (size_t)snprintf(text, sizeof text, "%s", e->text);

    while (size > 0 && text[size - 1] == '\n')
        text[--size] = '\0';
    fprintf(c->err.file, "%slitho:%s ", style(&c->err, STYLE_RED), style(&c->err, STYLE_OFF));
    print_plain(c->err.file, text);
    if (cli_has(c, OPTION_JSON))
        cli_json(c, json_pack("{s:s, s:s}", "code", err_name(e->code), "error", text));
    if (e->code == ERR_CANCELLED)
        return EXIT_INTERRUPTED;
    return e->code == ERR_ARG ? EXIT_USAGE : EXIT_FAILED;
}

void cli_json(struct cli *c, json_t *value)
{
    struct buf text = {0};

    json_canonical(value, &text);
    fprintf(c->out.file, "%s\n", buf_text(&text));
    fflush(c->out.file);
    buf_done(&text);
    json_decref(value);
}

static void print_overview(const struct terminal *t)
{
    const char *bold = style(t, STYLE_BOLD), *off = style(t, STYLE_OFF);

    fprintf(t->file,
            "litho renders batches of Stable Diffusion pictures from a YAML manifest.\n\n"
            "%susage:%s litho COMMAND [ARGUMENTS] [OPTIONS]\n\n%son this machine%s\n",
            bold, off, bold, off);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, "submit") == 0)
            fprintf(t->file, "\n%swith a running coordinator%s (--connect ENDPOINT)\n", bold, off);
        if (strcmp(commands[i].name, "replay") == 0)
            fprintf(t->file, "\n%swith a picture%s\n", bold, off);
        fprintf(t->file, "  %-8s %-9s  %s\n", commands[i].name, commands[i].arguments,
                commands[i].summary);
    }
    fprintf(t->file, "\n`litho help COMMAND` tells more. Start with: litho plan "
                     "jobs/examples/stickers.yaml\n");
}

static void print_help(const struct terminal *t, const struct command *command)
{
    const char *bold = style(t, STYLE_BOLD), *off = style(t, STYLE_OFF);
    char left[40];

    fprintf(t->file, "%slitho %s%s%s%s [OPTIONS]: %s\n", bold, command->name,
            command->arguments[0] != '\0' ? " " : "", command->arguments, off, command->summary);
    if (command->more[0] != '\0')
        fprintf(t->file, "\n%s\n", command->more);
    fputc('\n', t->file);
    for (int id = 0; id < OPTION_COUNT; id++) {
        const char *value = option_placeholder(id);
        if (!((command->options | OPTION_BIT(OPTION_HELP)) & OPTION_BIT(id)))
            continue;
        snprintf(left, sizeof(left), "--%s%s%s", option_name(id), value != NULL ? " " : "",
                 value != NULL ? value : "");
        fprintf(t->file, "  %-20s  %s\n", left, option_help(id));
    }
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown_command(struct cli *c, const char *name)
{
    const char *names[N_COMMANDS + 1];
    struct buf hint = {0};

    for (size_t i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    names[N_COMMANDS] = "help";
    if (name[0] == '-') {
        cli_note(c, "unknown option '%s' before a command; `litho --help` lists the commands",
                 name);
        return EXIT_USAGE;
    }
    suggest_text(name, names, N_COMMANDS + 1, &hint);
    cli_note(c, "unknown command '%s'%s%s", name, buf_text(&hint),
             hint.size > 0 ? "" : "; `litho --help` lists them");
    buf_done(&hint);
    return EXIT_USAGE;
}

static int help(struct cli *c, const char *name)
{
    const struct command *command = name == NULL ? NULL : find_command(name);

    if (name == NULL)
        print_overview(&c->out);
    else if (command == NULL)
        return unknown_command(c, name);
    else
        print_help(&c->out, command);
    return EXIT_DONE;
}

static int command_main(struct cli *c, const struct command *command, int argc, char *const *argv)
{
    struct err e;

    if (options_read(command->options | OPTION_BIT(OPTION_HELP), argc, argv, &c->options, &e) != 0)
        return cli_fail(c, &e);
    if (cli_has(c, OPTION_HELP)) {
        print_help(&c->out, command);
        return EXIT_DONE;
    }
    if (c->options.n_arguments != command->n_arguments) {
        cli_note(c, "usage: litho %s%s%s [OPTIONS]; `litho help %s` tells more", command->name,
                 command->arguments[0] != '\0' ? " " : "", command->arguments, command->name);
        return EXIT_USAGE;
    }
    return command->run(c);
}

static int dispatch(struct cli *c, int argc, char *const *argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct command *command;

    if (name == NULL) {
        print_overview(&c->err);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(c, argc > 2 ? argv[2] : NULL);
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        fprintf(c->out.file, "litho %s (engine %s)\n", LITHO_VERSION, ENGINE_VERSION);
        return EXIT_DONE;
    }
    command = find_command(name);
    return command == NULL ? unknown_command(c, name)
                           : command_main(c, command, argc - 2, argv + 2);
}

/* An answer that did not arrive, on a full disk for one, is no success. */
int cli_main(int argc, char *const *argv)
{
    struct cli c = {.out = terminal_of(stdout), .err = terminal_of(stderr)};
    int code = dispatch(&c, argc, argv);
    struct err e;

    errno = 0;
    if ((fflush(c.out.file) != 0 || ferror(c.out.file)) && code == EXIT_DONE) {
        err_errno(&e, "standard output");
        return cli_fail(&c, &e);
    }
    return code;
}
