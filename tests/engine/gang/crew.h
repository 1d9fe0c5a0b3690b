/* Renders by gangs of real processes, one engine each; the picture comes back in shared memory. */
#ifndef TESTS_ENGINE_GANG_CREW_H
#define TESTS_ENGINE_GANG_CREW_H

#include "engine/engine.h"
#include "engine/gang/gang.h"
#include "engine/lora/lora.h"
#include "engine/ops/cuda.h"
#include "engine/pipeline/pipeline.h"
#include "tests/engine/folders.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CREW_PIXELS_MAX  (512 * 512 * 3)
#define CREW_LATENT_MAX  (64 * 64 * 4)
#define CREW_PATIENCE_MS 120000 /* only a failing test waits this long */

/* What a crew renders, and what came of it. */
struct crew {
    /* model, backend, precision, threads, lora_folders; device: 0: one for all, else one each */
    struct engine_options engine;
    struct render render;
    int guidance, tensor; /* 1, 1: alone */
    bool by_host;         /* sums of a device go through the host, whatever it could do */
    bool unrecorded;      /* every step's ops are called one by one */
    bool again;           /* twice, the second time with another member 1 that starts anew */
    void (*in_step)(void *user, int step, int steps); /* of member `marked`; NULL: none */
    int marked;

    struct gang_offer *offer;
    pid_t pids[GANG_SIZE_MAX];
    struct crew_result {
        int width, height;
        uint64_t weight_bytes[GANG_SIZE_MAX];
        char text[300]; /* of the last error */
        float latent[CREW_LATENT_MAX];
        uint8_t pixels[CREW_PIXELS_MAX];
    } * result; /* shared */
};

static inline int crew_size(const struct crew *c)
{
    return c->guidance * c->tensor;
}

/* One member's render; ret_latent as pipeline_run() has it. */
static inline int crew_picture(const struct crew *c, int rank, struct image *ret_image,
                               struct err *why)
{
    const struct engine_options *o = &c->engine;
    const struct render *renders[] = {&c->render};
    const struct batch b = {renders, 1};
    struct workspace plan, w = {0};
    struct pipeline p = {0};
    struct model *m = NULL;
    struct ops *ops = NULL;
    int rc = 0;

    if (o->backend == BACKEND_CUDA)
        TRY(ops_cuda_new(o->device > 0 ? rank : 0, o->precision, &ops, why));
    else
        TRY(ops_cpu_new(o->threads, o->precision, &ops, why));
    if (c->by_host)
        ops->gang_open = NULL;
    if (c->unrecorded)
        ops->record = NULL;
    ops->shard = (struct shard){.rank = rank % c->tensor, .size = c->tensor};
    TRY(open_model(o->model, ops, &m, why));
    TRY(model_lora_folders(m, o->lora_folders, 0, why));
    p.model = m;
    TRY(pipeline_plan(&p, &b, &plan, why));
    TRY(workspace_init(&w, ops, &plan, why));
    TRY(pipeline_run(&p, &b, rank == 0 ? c->result->latent : NULL, ret_image, why));
    if (c->again) {
        image_done(ret_image);
        if (rank == 1) {
            pipeline_done(&p);
            p = (struct pipeline){0};
            model_lora_done(m);
            model_close(m);
            m = NULL;
            TRY(open_model(o->model, ops, &m, why));
            p.model = m;
        }
        TRY(pipeline_run(&p, &b, rank == 0 ? c->result->latent : NULL, ret_image, why));
    }
    c->result->weight_bytes[rank] = m->weight_bytes;
out:
    if (ops != NULL)
        workspace_done(&w, ops);
    pipeline_done(&p);
    model_lora_done(m);
    model_close(m);
    if (ops != NULL)
        ops->free(ops);
    return rc;
}

/* In the member's process; returns its exit code. */
static inline int crew_member(struct crew *c, int rank)
{
    struct gang_place p = {.rank = rank,
                           .size = crew_size(c),
                           .offer = rank == 0 ? c->offer : NULL,
                           .meeting = gang_offer_text(c->offer),
                           .abort_fd = -1,
                           .patience_ms = CREW_PATIENCE_MS};
    struct image image = {0};
    struct err why = {0};
    int rc = 0;

    if (c->in_step != NULL && rank == c->marked)
        c->render.progress = c->in_step;
    if (crew_size(c) > 1)
        TRY(gang_join(&p, &c->render.gang, &why));
    TRY(crew_picture(c, rank, &image, &why));
    if (rank == 0) {
        c->result->width = image.width;
        c->result->height = image.height;
        memcpy(c->result->pixels, image.pixels, (size_t)image.width * (size_t)image.height * 3);
    } else if (image.pixels != NULL) {
        rc = ERR_INTERNAL;
    }
out:
    if (rc != 0 && (rc != ERR_LOST || c->result->text[0] == 0)) /* the cause, not what follows */
        snprintf(c->result->text, sizeof c->result->text, "member %d: %.200s", rank, why.text);
    if (c->render.gang != NULL)
        c->render.gang->free(c->render.gang);
    image_done(&image);
    return -rc;
}

static inline void crew_start(struct crew *c)
{
    c->result =
        mmap(NULL, sizeof *c->result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(c->result != MAP_FAILED);
    assert_ok(gang_offer_new(GANG_UNIX, NULL, &c->offer, e));
    for (int i = 0; i < crew_size(c); i++) {
        c->pids[i] = fork();
        assert_true(c->pids[i] >= 0);
        if (c->pids[i] > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(crew_member(c, i));
    }
}

/* A member's exit code; negative: the signal that ended it. */
static inline int crew_wait(struct crew *c, int rank)
{
    int status = 0;

    assert_int_equal(waitpid(c->pids[rank], &status, 0), c->pids[rank]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline void crew_done(struct crew *c)
{
    gang_offer_free(c->offer);
    munmap(c->result, sizeof *c->result);
    *c = (struct crew){0};
}

/* Caller: crew_done(). */
static inline void crew_render(struct crew *c)
{
    crew_start(c);
    for (int i = 0; i < crew_size(c); i++) {
        int code = crew_wait(c, i);

        if (code != 0)
            fail_msg("member %d ended with %d; %s", i, code, c->result->text);
    }
}

/* Each number of both pictures. */
static inline void crew_assert_within_a_level(const struct crew *a, const struct crew *b)
{
    int n = a->result->width * a->result->height * 3;

    assert_int_equal(n, b->result->width * b->result->height * 3);
    for (int i = 0; i < n; i++)
        if (abs(a->result->pixels[i] - b->result->pixels[i]) > 1)
            fail_msg("number %d is %d, not %d", i, b->result->pixels[i], a->result->pixels[i]);
}

#endif
