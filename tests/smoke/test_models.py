#!/usr/bin/python3
"""Damaged model folders, through `litho run`: exit 1, and the reason names file and tensor."""
import json
import os
import shutil
import struct

from programs import MODEL, SMALL, Case, main, pictures, png_chunks

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def header_of(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size)), file.read()


def write_weights(path, header, data):
    text = json.dumps(header).encode("utf-8")
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class Damaged(Case):
    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        shutil.copytree(MODEL, self.model, ignore=shutil.ignore_patterns("training", "*.png"))
        self.job = self.write("small.yaml", SMALL.replace("model: sticker-128", "model: ./model"))

    def file(self, name):
        return os.path.join(self.model, name)

    def check_reason(self, *words):
        done = self.litho("run", self.job, "--set", "axes.thing=[fox]", "--set",
                          "axes.ground=[teal]", "--workers", "1", expect=1)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(pictures(self.path("out")), {})

    def test_truncated_weights(self):
        os.truncate(self.file(UNET), os.path.getsize(self.file(UNET)) - 1000)
        self.check_reason(self.file(UNET), "truncated", "'up_blocks.2.resnets.2.time_emb_proj")

    def test_empty_weights(self):
        os.truncate(self.file(VAE), 0)
        self.check_reason(self.file(VAE), "too short")

    def test_random_bytes_for_weights(self):
        with open(self.file(TEXT), "wb") as file:
            file.write(b"\xa5" * 100000)
        self.check_reason(self.file(TEXT), "not a safetensors file")

    def test_tensor_of_another_shape(self):
        header, data = header_of(self.file(UNET))
        shape = header["conv_in.weight"]["shape"]
        header["conv_in.weight"]["shape"] = [shape[1], shape[0], shape[2], shape[3]]
        write_weights(self.file(UNET), header, data)
        self.check_reason(self.file(UNET), "'conv_in.weight'", "shape [4, 64, 3, 3]",
                          "[64, 4, 3, 3]")

    def test_missing_tensor(self):
        header, data = header_of(self.file(UNET))
        last = max((key for key in header if key != "__metadata__"),
                   key=lambda key: header[key]["data_offsets"][1])
        begin = header[last]["data_offsets"][0]
        del header[last]
        write_weights(self.file(UNET), header, data[:begin])
        self.check_reason(self.file(UNET), "'%s'" % last)

    def test_missing_files(self):
        for name in (UNET, "unet/config.json", "tokenizer/merges.txt", "model_index.json"):
            kept = self.path("kept")
            os.rename(self.file(name), kept)
            self.check_reason(os.path.basename(name), self.model)
            os.rename(kept, self.file(name))

    def test_broken_configuration(self):
        with open(self.file("vae/config.json"), "w", encoding="utf-8") as file:
            file.write('{"latent_channels": ')
        self.check_reason(self.file("vae/config.json") + ":1:")

    def test_mended_model_is_taken_by_the_same_command(self):
        os.rename(self.file(UNET), self.path("kept"))
        self.check_reason(self.file(UNET))
        os.rename(self.path("kept"), self.file(UNET))
        self.litho("run", self.job, "--set", "axes.thing=[fox]", "--set", "axes.ground=[teal]")
        self.assertEqual(len(pictures(self.path("out"))), 2)


class LongPrompts(Case):
    def test_prompts_past_75_tokens_go_on_in_another_chunk(self):
        """What comes after 75 tokens counts, and white space after them does not."""
        words = " ".join(["fox"] * 75)
        digests = []
        for out, more in (("a", ""), ("b", " a red pizza"), ("c", "  ")):
            prompt = words + more
            job = self.write("job.yaml", SMALL.replace(
                "prompt: a ${thing} on a ${ground} background", "prompt: \"%s\"" % prompt).replace(
                    "  thing: [fox, pizza, owl]\n  ground: [teal, pink]\n", "  cfg_scale: [2]\n")
                .replace("{thing}-{ground}", "x").replace(
                    ", sheet: {x: ground, y: thing}", ""))
            self.litho("run", job, "--out", out)
            digests.append(self.pixels(self.path(out, "small", "x.png")))
        self.assertNotEqual(digests[0], digests[1])
        self.assertEqual(digests[0], digests[2])

    def pixels(self, path):
        with open(path, "rb") as file:
            return b"".join(body for kind, body in png_chunks(file.read()) if kind == b"IDAT")


if __name__ == "__main__":
    main()
