/* A LoRA of a render, as the picture's text lists it; engine.h and lora.h give them out. */
#ifndef ENGINE_LORA_LORA_INFO_H
#define ENGINE_LORA_LORA_INFO_H

/* A LoRA that a render used. All borrowed until the next render or plan. */
#define ENGINE_LORAS_MAX 64 /* in one render */
struct lora_info {
    const char *name, *path;
    double unet, te;       /* weights */
    const char *sha256;    /* of the file */
    const char *data_hash; /* whose first 12 digits AUTOMATIC1111 lists under "Lora hashes" */
};

#endif
