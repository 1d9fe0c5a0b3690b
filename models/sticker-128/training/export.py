"""Writes sticker-128 as a diffusers folder, float16."""

import argparse
import os
import shutil

from networks import ddim, load_pipeline


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("out")
    a = ap.parse_args()
    pipeline = load_pipeline()
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.half()
    pipeline.scheduler = ddim()
    pipeline.save_pretrained(a.out, safe_serialization=True)
    # the classic tokenizer files, as published checkpoints have them
    shutil.rmtree(f"{a.out}/tokenizer")
    os.makedirs(f"{a.out}/tokenizer")
    for name in os.listdir("tokenizer"):
        shutil.copy(f"tokenizer/{name}", f"{a.out}/tokenizer/{name}")


if __name__ == "__main__":
    main()
