/*
 * A task as the engine takes it: its pictures read from disk, its fields in a struct render. Also
 * says what the files were, so that a record can tell when one of them changed.
 *
 *     TRY(scene_open(&task, &scene, e));
 *     scene.render.progress = ...;
 *     TRY(engine_render(g, renders, n, images, e));
 *     scene_done(&scene);
 */
#ifndef WORKER_SCENE_H
#define WORKER_SCENE_H

#include "engine/engine.h"
#include "jobs/task.h"
#include "worker/image_file.h"

#define SCENE_ASSETS_MAX 2

struct scene {
    struct render render; /* borrows the task's texts and the pixels below */
    struct image_file init, mask;
    struct model_file assets[SCENE_ASSETS_MAX]; /* "init_image", "mask": SHA-256 of their files */
    size_t n_assets;
};

/* ERR_MISSING, ERR_IO, ERR_INPUT name the file. ret_scene: scene_done(), before the task's end. */
int scene_open(const struct task *t, struct scene *ret_scene, struct err *e);

/* The same without reading a file: pixels are zeros of the render's size. For planning. */
int scene_plan(const struct task *t, struct scene *ret_scene, struct err *e);

void scene_done(struct scene *scene);

#endif
