#include "jobs/cli/measure.h"

#include "proto/file.h"
#include "proto/json.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define SAMPLES_MAX 256 /* chains */
#define FRAMES_MAX  16  /* of each */
#define MODELS_MAX  16

/*
 * Calls visit for evenly spaced tasks: of at most SAMPLES_MAX chains, of each the first frame and
 * FRAMES_MAX - 1 later ones. A task of its own is a chain of one. weight: how many frames of its
 * chain the task stands for. Returns how many chains and frames were looked at.
 */
typedef int sample_fn(void *user, uint64_t index, double weight, struct err *e);

static int sample_chain(const struct job *job, uint64_t start, sample_fn *visit, void *user,
                        struct err *e)
{
    uint64_t later = job_frames(job) - 1;
    uint64_t n = later < FRAMES_MAX - 1 ? later : FRAMES_MAX - 1;
    int rc = visit(user, start, 1, e);

    for (uint64_t k = 0; k < n && rc == 0; k++)
        rc = visit(user, start + 1 + k * later / n, (double)later / (double)n, e);
    return rc;
}

static int sample(const struct job *job, sample_fn *visit, void *user, struct err *e)
{
    uint64_t span = job_span(job), frames = job_frames(job), chains = span / frames;
    uint64_t stride = chains > SAMPLES_MAX ? chains / SAMPLES_MAX : 1;
    int rc = 0;

    for (uint64_t i = job_next(job, 0), n = 0; i < span && n < SAMPLES_MAX; n++) {
        TRY(sample_chain(job, i, visit, user, e));
        i = job_next(job, i + stride * frames);
    }
out:
    return rc;
}

/* Pixels of the finished picture. */
static double pixels_of(const struct task *t)
{
    int64_t width, height;

    task_size(t, &width, &height);
    return (double)width * (double)height;
}

static double work_of(const struct task *t)
{
    int second = t->hr_second_pass_steps ? t->hr_second_pass_steps : t->steps;
    double pixels = pixels_of(t), work;

    if (task_is_hires(t))
        work = (double)t->width * t->height * t->steps +
               pixels * floor(second * t->denoising_strength);
    else
        work = pixels * (t->init_image && *t->init_image ? floor(t->steps * t->denoising_strength)
                                                         : t->steps);
    return work * (t->cfg_scale > 1 ? 2 : 1);
}

struct work_sum {
    const struct job *job;
    struct workload sum;
    double n, chain; /* tasks; pixel steps of the chain at hand */
};

static int add_work(void *user, uint64_t index, double weight, struct err *e)
{
    struct work_sum *s = user;
    struct task t;
    int rc = job_task(s->job, index, &t, e);

    if (rc == 0) {
        s->n += weight;
        s->sum.pixels += weight * pixels_of(&t);
        s->sum.work += weight * work_of(&t);
        s->chain = (job_frame(s->job, index) > 0 ? s->chain : 0) + weight * work_of(&t);
        s->sum.longest = fmax(s->sum.longest, s->chain);
        task_done(&t);
    }
    return rc;
}

int workload_of(const struct job *job, struct workload *ret_w, struct err *e)
{
    struct work_sum s = {.job = job};
    int rc = sample(job, add_work, &s, e);

    if (rc == 0 && s.n > 0)
        *ret_w = (struct workload){
            .work = s.sum.work / s.n, .pixels = s.sum.pixels / s.n, .longest = s.sum.longest};
    else if (rc == 0)
        *ret_w = (struct workload){0};
    return rc;
}

struct makespan workload_makespan(const struct workload *w, const struct job *job, int workers)
{
    const struct gang_shape *shape = &job_conduct(job)->shape;
    uint64_t renderers = (uint64_t)workers / (shape->guidance * shape->tensor);

    return (struct makespan){.chains = job_count(job) / job_frames(job),
                             .frames = job_frames(job),
                             .renderers = renderers > 0 ? renderers : 1,
                             .longest = w->work > 0 ? w->longest / w->work : 0};
}

double measure_seconds(const struct measure *m, const struct workload *w, const struct job *job,
                       uint64_t done)
{
    struct makespan makespan = workload_makespan(w, job, m->workers);

    return makespan_left(&makespan, done) * (double)makespan.renderers * w->work /
           m->work_per_second;
}

struct picture_sum {
    const struct state *state;
    const struct job *job;
    double bytes, pixels;
};

static int add_picture(void *user, uint64_t index, double weight, struct err *e)
{
    struct picture_sum *s = user;
    struct buf path = {0};
    struct stat status;
    struct task t;
    int rc = 0;

    buf_printf(&path, "%s/", s->state->out);
    TRY(job_path(s->job, index, &path, e));
    if (stat(buf_text(&path), &status) != 0)
        goto out;
    TRY(job_task(s->job, index, &t, e));
    s->bytes += weight * (double)status.st_size;
    s->pixels += weight * pixels_of(&t);
    task_done(&t);
out:
    buf_done(&path);
    return rc;
}

double measure_pictures(const struct state *s, const struct job *job)
{
    struct picture_sum sum = {.state = s, .job = job};

    if (sample(job, add_picture, &sum, NULL) != 0 || sum.pixels == 0)
        return 0;
    return sum.bytes / sum.pixels;
}

static void file_path(const struct state *s, struct buf *ret_path)
{
    buf_printf(ret_path, "%s/measured.json", s->folder);
}

/* The entry's key: models in their order of appearance. */
static void models_key(const struct job *job, struct buf *ret_key)
{
    const char *models[MODELS_MAX];
    size_t n = job_models(job, models, MODELS_MAX);

    for (size_t i = 0; i < n && i < MODELS_MAX; i++)
        buf_printf(ret_key, "%s%s", i > 0 ? "\n" : "", models[i]);
}

/* An object in any case: estimates are worth no error. */
static json_t *file_read(const struct state *s)
{
    struct buf path = {0};
    json_t *root = NULL;

    file_path(s, &path);
    if (json_read_file(buf_text(&path), &root, NULL) != 0 || !json_is_object(root)) {
        json_decref(root);
        root = json_object();
    }
    buf_done(&path);
    return root;
}

bool measure_read(const struct state *s, const struct job *job, struct measure *ret_m)
{
    struct json_reader r = {.where = "measured.json"};
    struct buf key = {0};
    json_t *root = file_read(s), *entry;
    struct measure m = {0};

    models_key(job, &key);
    entry = json_object_get(root, buf_text(&key));
    if (entry != NULL) {
        m.work_per_second = json_get_real_or(&r, entry, "work_per_second", 0);
        m.bytes_per_pixel = json_get_real_or(&r, entry, "bytes_per_pixel", 0);
        m.images = (uint64_t)json_get_int_or(&r, entry, "images", 0, INT64_MAX, 0);
        m.workers = (int)json_get_int_or(&r, entry, "workers", 1, 1000, 1);
        m.threads = (int)json_get_int_or(&r, entry, "threads", 1, 1000, 1);
    }
    json_decref(root);
    buf_done(&key);
    if (r.rc != 0 || m.work_per_second <= 0 || m.bytes_per_pixel <= 0)
        return false;
    *ret_m = m;
    return true;
}

int measure_write(const struct state *s, const struct job *job, const struct measure *m,
                  struct err *e)
{
    struct buf key = {0}, path = {0}, text = {0};
    json_t *root = file_read(s);
    int rc = 0;

    models_key(job, &key);
    file_path(s, &path);
    json_object_set_new(root, buf_text(&key),
                        json_pack("{s:f, s:f, s:I, s:i, s:i}", "work_per_second",
                                  m->work_per_second, "bytes_per_pixel", m->bytes_per_pixel,
                                  "images", (json_int_t)m->images, "workers", m->workers, "threads",
                                  m->threads));
    json_canonical(root, &text);
    buf_putc(&text, '\n');
    TRY(buf_check(&text, e));
    TRY(file_replace(buf_text(&path), text.data, text.size, e));
out:
    json_decref(root);
    buf_done(&key);
    buf_done(&path);
    buf_done(&text);
    return rc;
}
