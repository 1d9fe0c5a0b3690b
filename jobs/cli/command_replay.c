/* litho replay image.png: render a picture again from the record inside it. */
#include "jobs/asset.h"
#include "jobs/cli/beside.h"
#include "jobs/cli/cli.h"
#include "jobs/cli/compare.h"
#include "jobs/cli/errand.h"
#include "jobs/cli/models.h"
#include "jobs/cli/provenance.h"
#include "jobs/cli/state.h"
#include "jobs/cli/views.h"
#include "proto/png.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PICTURE_MAX (64u << 20) /* bytes of the file, as on the wire */

struct replay {
    struct cli *cli;
    const char *image;  /* path of the original */
    struct buf was, is; /* both files */
    struct provenance record, again;
    char folder[PATH_MAX]; /* temporary; "" before it exists */
    struct state state;
    struct buf bundle;
    struct job *job;
    struct errand errand;
    struct comparison comparison; /* with --verify */
    char *written;                /* path of the new file, or NULL; owned */
};

static int folder_make(struct replay *r, struct err *e)
{
    const char *base = getenv("TMPDIR");
    struct buf out = {0};
    int rc = 0;

    if (base == NULL || base[0] != '/')
        base = "/tmp";
    snprintf(r->folder, sizeof(r->folder), "%s/litho-replay-XXXXXX", base);
    if (mkdtemp(r->folder) == NULL) {
        rc = err_errno(e, r->folder);
        r->folder[0] = '\0';
        return rc;
    }
    buf_printf(&out, "%s/out", r->folder);
    TRY(buf_check(&out, e));
    TRY(state_locate(out.data, &r->state, e));
    TRY(state_make(&r->state, e));
out:
    buf_done(&out);
    return rc;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    remove(path);
    return 0;
}

static void folder_remove(const struct replay *r)
{
    if (r->folder[0] != '\0')
        nftw(r->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What a picture starts from that is named by its hash, as a chain's frame before is: the file that
 * lies beside it. */
static int start_find(struct replay *r, struct err *e)
{
    struct task *t = &r->record.task;
    const char *hex = t->init_image ? asset_hash_of(t->init_image) : NULL;
    char *path = NULL;
    int rc = 0;

    if (hex == NULL)
        return 0;
    TRY(beside_find(r->image, hex, &path, e));
    if (path == NULL)
        TRY(err_set(e, ERR_MISSING,
                    "%s starts from another picture, as a chain's frame does from the one before: "
                    "no PNG file beside it has that one's SHA-256, %s",
                    r->image, hex));
    free(t->init_image);
    t->init_image = path;
out:
    return rc;
}

static int job_make(struct replay *r, struct err *e)
{
    int rc = provenance_bundle(&r->record.task, &r->bundle, e);

    return rc != 0 ? rc : job_load(r->bundle.data, r->bundle.size, &r->job, e);
}

static int errand_prepare(struct replay *r, struct err *e)
{
    const struct options *o = &r->cli->options;
    int64_t threads;
    int rc = options_number(o, OPTION_THREADS, 1, CLUSTER_THREADS_MAX, errand_cores(), &threads, e);

    r->errand = (struct errand){.cli = r->cli,
                                .job = r->job,
                                .bundle = &r->bundle,
                                .options = {.state = r->state.folder,
                                            .out = r->state.out,
                                            .logs = r->state.logs,
                                            .models = o->value[OPTION_MODELS],
                                            .workers = 1,
                                            .threads = (int)threads}};
    return rc;
}

static int render(struct replay *r, struct err *e)
{
    const struct msg_job *m = &r->errand.final.job;
    struct buf path = {0};
    int rc = 0;

    TRY(errand_run(&r->errand, e));
    if (view_exit_code(&m->summary) != EXIT_DONE)
        TRY(err_set(e, m->n_failures > 0 ? err_from_name(m->failures[0].code) : ERR_INTERNAL, "%s",
                    m->n_failures > 0 ? m->failures[0].text : "the replay has no picture"));
    buf_printf(&path, "%s/", r->state.out);
    TRY(job_path(r->job, 0, &path, e));
    TRY(buf_read_file(&r->is, buf_text(&path), PICTURE_MAX, e));
    TRY(provenance_read(r->is.data, r->is.size, buf_text(&path), &r->again, e));
out:
    buf_done(&path);
    return rc;
}

static int compare(struct replay *r, struct err *e)
{
    uint8_t *a = NULL, *b = NULL;
    int a_width, a_height, b_width, b_height, rc = 0;

    TRY(png_decode(r->was.data, r->was.size, &a, &a_width, &a_height, e));
    TRY(png_decode(r->is.data, r->is.size, &b, &b_width, &b_height, e));
    if (a_width != b_width || a_height != b_height)
        TRY(err_set(e, ERR_OUTPUT, "differs: %dx%d pixels, the replay has %dx%d", a_width, a_height,
                    b_width, b_height));
    r->comparison = compare_pixels(a, b, (size_t)a_width * (size_t)a_height * 3);
out:
    free(a);
    free(b);
    return rc;
}

/* IMAGE.png becomes IMAGE.replay.png beside it. */
static void default_target(const char *image, struct buf *ret_path)
{
    size_t size = strlen(image);

    if (size > 4 && strcmp(image + size - 4, ".png") == 0)
        size -= 4;
    buf_append(ret_path, image, size);
    buf_puts(ret_path, ".replay.png");
}

static int target(struct replay *r, char **ret_path, struct err *e)
{
    const char *given = r->cli->options.value[OPTION_OUT_FILE];
    struct buf path = {0};

    if (given != NULL)
        buf_puts(&path, given);
    else
        default_target(r->image, &path);
    *ret_path = buf_detach(&path);
    if (*ret_path == NULL)
        return err_set(e, ERR_OOM, "path: out of memory");
    if (access(*ret_path, F_OK) == 0)
        return err_set(e, ERR_CONFLICT, "%s is there already: name another with --out", *ret_path);
    return 0;
}

static int picture_write(const struct replay *r, struct err *e)
{
    int fd = open(r->written, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    size_t at = 0;
    int rc = 0;

    if (fd < 0)
        return err_errno(e, r->written);
    while (at < r->is.size) {
        ssize_t n = write(fd, r->is.data + at, r->is.size - at);
        if (n < 0 && errno != EINTR)
            TRY(err_errno(e, r->written));
        at += n > 0 ? (size_t)n : 0;
    }
out:
    if (close(fd) != 0 && rc == 0)
        rc = err_errno(e, r->written);
    if (rc != 0)
        unlink(r->written);
    return rc;
}

static json_t *lines_json(const struct buf *lines)
{
    json_t *list = json_array();

    for (const char *line = buf_text(lines); *line != '\0';) {
        size_t size = strcspn(line, "\n");
        json_array_append_new(list, json_stringn(line, size));
        line += size + (line[size] == '\n');
    }
    return list;
}

static void report_json(struct replay *r, bool verify, const struct buf *differences)
{
    const struct comparison *c = &r->comparison;
    bool equal = c->max_difference == 0;
    json_t *line = json_pack("{s:s, s:s?, s:o}", "image", r->image, "written", r->written,
                             "record_differs", lines_json(differences));

    if (verify) {
        json_object_set_new(line, "equal", json_boolean(equal));
        json_object_set_new(line, "max_difference", json_integer(c->max_difference));
        json_object_set_new(line, "psnr_db", equal ? json_null() : json_real(c->psnr_db));
    }
    cli_json(r->cli, line);
}

static void report_text(struct replay *r, bool verify, const struct buf *differences)
{
    const struct comparison *c = &r->comparison;
    FILE *file = r->cli->out.file;

    if (verify && c->max_difference == 0)
        fprintf(file, "equal\n");
    else if (verify)
        fprintf(file, "differs: max difference %d level%s, PSNR %.1f dB\n", c->max_difference,
                c->max_difference == 1 ? "" : "s", c->psnr_db);
    if (r->written != NULL)
        fprintf(file, "%s\n", r->written);
    fflush(file);
    for (const char *line = buf_text(differences); *line != '\0';) {
        size_t size = strcspn(line, "\n");
        cli_note(r->cli, "%.*s", (int)size, line);
        line += size + (line[size] == '\n');
    }
}

static int replay(struct replay *r, struct err *e)
{
    bool verify = cli_has(r->cli, OPTION_VERIFY);
    bool write = !verify || cli_has(r->cli, OPTION_OUT_FILE);
    struct buf differences = {0};
    int rc = 0;

    TRY(buf_read_file(&r->was, r->image, PICTURE_MAX, e));
    TRY(provenance_read(r->was.data, r->was.size, r->image, &r->record, e));
    if (write)
        TRY(target(r, &r->written, e));
    if (r->cli->options.value[OPTION_MODEL] != NULL)
        TRY(model_resolve(r->cli->options.value[OPTION_MODEL], &r->record.task.model, e));
    TRY(start_find(r, e));
    TRY(folder_make(r, e));
    TRY(job_make(r, e));
    TRY(errand_prepare(r, e));
    TRY(render(r, e));
    if (verify)
        TRY(compare(r, e));
    if (write)
        TRY(picture_write(r, e));
    provenance_differences(&r->record, &r->again, &differences);
    if (cli_has(r->cli, OPTION_JSON))
        report_json(r, verify, &differences);
    else
        report_text(r, verify, &differences);
out:
    buf_done(&differences);
    return rc;
}

int command_replay(struct cli *c)
{
    struct replay r = {.cli = c, .image = c->options.arguments[0]};
    struct err e = {0};
    int rc = replay(&r, &e);
    int code = rc != 0                            ? cli_fail(c, &e)
               : r.comparison.max_difference == 0 ? EXIT_DONE
                                                  : EXIT_FAILED;

    errand_done(&r.errand);
    folder_remove(&r);
    job_free(r.job);
    buf_done(&r.bundle);
    buf_done(&r.was);
    buf_done(&r.is);
    provenance_done(&r.record);
    provenance_done(&r.again);
    state_done(&r.state);
    free(r.written);
    return code;
}
