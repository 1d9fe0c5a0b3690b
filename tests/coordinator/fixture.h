/* A reactor on a table: events in, the outbox read as text or decoded. */
#ifndef TESTS_COORDINATOR_FIXTURE_H
#define TESTS_COORDINATOR_FIXTURE_H

#include "coordinator/reactor.h"
#include "tests/jobs/bundle.h"

#include <ftw.h>
#include <unistd.h>

#define MUST(call)                                                                                 \
    do {                                                                                           \
        struct err must_e = {0};                                                                   \
        struct err *e = &must_e;                                                                   \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, must_e.text);                                                \
    } while (0)

static inline struct peer peer_named(const char *name)
{
    struct peer p = {.size = (uint8_t)strlen(name)};

    memcpy(p.id, name, p.size);
    return p;
}

/* One axis of n seeds, and what else the spec says. */
static inline struct job *seeds_job_with(int n, struct spec spec)
{
    struct buf axes = {0};
    struct job *job;

    buf_printf(&axes,
               "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':%d}}]", n);
    spec.axes = buf_text(&axes);
    job = bundle_job(spec);
    buf_done(&axes);
    return job;
}

static inline struct job *seeds_job(const char *name, int n)
{
    return seeds_job_with(n, (struct spec){.job = name});
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A fresh folder; the caller removes it. */
static inline char *temporary_folder(void)
{
    const char *base = getenv("TMPDIR");
    struct buf path = {0};

    buf_printf(&path, "%s/litho-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path.data))
        fail_msg("no temporary folder");
    return buf_detach(&path);
}

#endif
