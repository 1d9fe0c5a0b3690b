/*
 * What a render asks of a LoRA: low-rank changes of the text encoders and the U-Net (Hu et al.
 * 2021, arXiv:2106.09685), as a prompt's <lora:name:weight> names them.
 */
#ifndef ENGINE_LORA_H
#define ENGINE_LORA_H

struct lora_use {
    const char *name; /* of the file, without folder and ".safetensors"; borrowed */
    double unet, te;  /* weights; 0: not there */
};

#endif
