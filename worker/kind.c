#include "worker/kind.h"

#include "jobs/task.h"

#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* All but the `<lora:...>` of a prompt goes, and `<lyco:...>`, which is the same. */
static void keep_loras(char *prompt)
{
    char *to = prompt;

    for (const char *from = prompt; (from = strchr(from, '<'));) {
        if (strncmp(from, "<lora:", 6) != 0 && strncmp(from, "<lyco:", 6) != 0) {
            from++;
            continue;
        }
        while (*from && (*to++ = *from++) != '>')
            ;
    }
    *to = 0;
}

/* "" stays "": whether there is a picture decides, not which. */
static void keep_presence(char *path)
{
    if (path && *path)
        path[1] = 0, path[0] = '/';
}

static void keep_what_batches_share(struct task *t)
{
    const struct task defaults = task_defaults();

    keep_loras(t->prompt);
    if (t->negative_prompt)
        t->negative_prompt[0] = 0;
    keep_presence(t->init_image);
    keep_presence(t->mask);
    t->cfg_scale = 1;
    t->guidance_rescale = defaults.guidance_rescale;
    t->seed = 0;
    t->rng = defaults.rng;
    t->subseed = defaults.subseed;
    t->subseed_strength = defaults.subseed_strength;
    t->seed_resize_from_w = defaults.seed_resize_from_w;
    t->seed_resize_from_h = defaults.seed_resize_from_h;
}

struct kind kind_of(const char *task)
{
    struct task t = {0};
    struct buf text = {0};
    uint64_t x = FNV_START;
    int64_t width, height;

    if (task_from_json(task, strlen(task), &t, NULL) != 0)
        return (struct kind){0};
    task_size(&t, &width, &height);
    keep_what_batches_share(&t);
    task_to_json(&t, &text);
    if (buf_check(&text, NULL) != 0)
        x = 0;
    for (size_t i = 0; x && i < text.size; i++)
        x = (x ^ (unsigned char)text.data[i]) * FNV_PRIME;
    buf_done(&text);
    task_done(&t);
    return (struct kind){x, (uint64_t)width * (uint64_t)height};
}

bool kind_binds(const char *task)
{
    struct task t = {0};
    bool binds =
        task_from_json(task, strlen(task), &t, NULL) == 0 && (t.loras.n > 0 || t.embeddings.n > 0);

    task_done(&t);
    return binds;
}
