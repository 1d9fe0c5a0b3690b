#!/usr/bin/python3
"""`litho replay`, and what a picture says about itself."""
import json
import os
import re
import shutil
import zlib

from programs import (MODEL, SMALL, Case, index_lines, main, png_chunks, png_texts, png_write,
                      sha256)

# As AUTOMATIC1111's infotext_utils.py reads the last line of `parameters`.
PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def read_parameters(text):
    """prompt, negative prompt and the key: value pairs, by AUTOMATIC1111's own rules."""
    *lines, last = text.strip().split("\n")
    if len(PARAM.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompt, negative, in_negative = "", "", False
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            in_negative = True
            line = line[len("Negative prompt:"):].strip()
        if in_negative:
            negative += ("" if negative == "" else "\n") + line
        else:
            prompt += ("" if prompt == "" else "\n") + line
    values = {}
    for key, value in PARAM.findall(last):
        if value[:1] == '"' and value[-1:] == '"':
            value = json.loads(value)
        values[key] = value
    return prompt, negative, values


def change_pixel(path, target, by=3):
    """Another colour in the last pixel, everything else as it was."""
    with open(path, "rb") as file:
        chunks = png_chunks(file.read())
    raw = bytearray(zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")))
    raw[-1] = (raw[-1] + by) % 256
    kept = [(kind, body) for kind, body in chunks if kind not in (b"IDAT", b"IEND")]
    with open(target, "wb") as file:
        file.write(png_write(kept + [(b"IDAT", zlib.compress(bytes(raw))), (b"IEND", b"")]))


class Replay(Case):
    def setUp(self):
        super().setUp()
        job = self.write("small.yaml", SMALL)
        self.litho("run", job, "--set", "axes.thing=[fox]", "--set", "negative_prompt='blurry: a, b'",
                   "--set", "cfg_scale=2.5", "--set", "precision=f32")
        self.image = self.path("out", "small", "fox-teal.png")

    def test_replay_verifies_as_equal(self):
        self.assertEqual(self.litho("replay", self.image, "--verify").stdout, "equal\n")
        document = self.litho_json("replay", self.image, "--verify")[0]
        self.assertTrue(document["equal"])
        self.assertEqual(document["record_differs"], [])
        self.assertEqual(sorted(os.listdir(self.path("out", "small"))),
                         ["fox-pink.png", "fox-teal.png", "index.jsonl", "job.json", "sheet.png"])

    def test_replay_writes_a_new_file_and_never_overwrites(self):
        self.litho("replay", self.image)
        copy = self.path("out", "small", "fox-teal.replay.png")
        self.assertEqual(sha256(copy), sha256(self.image))
        self.assertIn("is there already", self.litho("replay", self.image, expect=1).stderr)
        self.litho("replay", self.image, "--out", self.path("third.png"))
        self.assertEqual(sha256(self.path("third.png")), sha256(self.image))

    def test_what_was_left_to_the_device_is_replayed_as_it_was_computed(self):
        image = self.path("free.png")
        self.litho("run", self.write("free.yaml", SMALL.replace("job: small", "job: free")),
                   "--set", "axes.thing=[fox]", "--set", "axes.ground=[teal]")
        shutil.copy(self.path("out", "free", "fox-teal.png"), image)
        was = json.loads(png_texts(image)["litho"])
        self.assertEqual(was["task"]["precision"], "auto")
        self.assertIn(was["precision"], ("f32", "bf16"))
        self.assertEqual(self.litho("replay", image, "--verify").stdout, "equal\n")
        self.litho("replay", image)
        again = json.loads(png_texts(self.path("free.replay.png"))["litho"])
        self.assertEqual(again["task"]["precision"], was["precision"])
        self.assertEqual(again["device_class"], was["device_class"])

    def test_changed_picture_is_detected(self):
        changed = self.path("changed.png")
        change_pixel(self.image, changed)
        done = self.litho("replay", changed, "--verify", expect=1)
        self.assertRegex(done.stdout, r"^differs: max difference \d+ levels?, PSNR \d+\.\d dB\n")
        document = self.litho_json("replay", changed, "--verify", expect=1)[0]
        self.assertFalse(document["equal"])
        self.assertGreater(document["max_difference"], 0)

    def test_other_model_files_are_named(self):
        model = self.path("model")
        shutil.copytree(MODEL, model)
        config = os.path.join(model, "scheduler", "scheduler_config.json")
        with open(config, encoding="utf-8") as file:
            text = file.read()
        with open(config, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        done = self.litho("replay", self.image, "--verify", "--model", model)
        self.assertEqual(done.stdout, "equal\n")
        self.assertIn("scheduler/scheduler_config.json: another content", done.stderr)

    def test_picture_without_a_record_is_refused(self):
        bare = self.path("bare.png")
        with open(self.image, "rb") as file:
            chunks = png_chunks(file.read())
        with open(bare, "wb") as file:
            file.write(png_write([c for c in chunks if c[0] not in (b"tEXt", b"iTXt")]))
        self.assertIn("carries no record", self.litho("replay", bare, expect=1).stderr)
        self.write("text.png", "no picture")
        self.litho("replay", self.path("text.png"), expect=1)
        self.litho("replay", self.path("nowhere.png"), expect=1)

    def test_parameters_read_back_by_automatic1111s_rules(self):
        texts = png_texts(self.image)
        self.assertEqual(list(texts), ["parameters", "litho"])
        prompt, negative, values = read_parameters(texts["parameters"])
        self.assertEqual(prompt, "a fox on a teal background")
        self.assertEqual(negative, "blurry: a, b")
        self.assertEqual(list(values)[:7], ["Steps", "Sampler", "Schedule type", "CFG scale",
                                            "Seed", "Size", "Model hash"])
        self.assertEqual(
            {key: values[key] for key in ("Steps", "Sampler", "Schedule type", "CFG scale", "Seed",
                                          "Size", "Model")},
            {"Steps": "2", "Sampler": "Euler", "Schedule type": "Automatic", "CFG scale": "2.5",
             "Seed": "5", "Size": "64x64", "Model": "sticker-128"})
        weights = os.path.join(MODEL, "unet", "diffusion_pytorch_model.safetensors")
        self.assertEqual(values["Model hash"], sha256(weights)[:10])

    def test_parameters_that_need_quoting_read_back(self):
        prompt = 'a "fox": two\nlines, Steps: 3, ünïcode 🦊\nSeed: 1'
        shutil.copytree(MODEL, self.path('m, "x": y'), ignore=shutil.ignore_patterns("training"))
        job = self.write("quoting.yaml", SMALL.replace("job: small", "job: quoting").replace(
            "a ${thing} on a ${ground} background", json.dumps(prompt, ensure_ascii=False)))
        self.litho("run", job, "--model", self.path('m, "x": y'), "--set", "axes.thing=[fox]",
                   "--set", "axes.ground=[teal]", "--set", "negative_prompt='blurry:\n\n a, \"b\"'")
        texts = png_texts(self.path("out", "quoting", "fox-teal.png"))
        got, _, values = read_parameters(texts["parameters"])
        self.assertEqual(got, prompt)
        self.assertEqual((values["Steps"], values["Seed"], values["Model"]),
                         ("2", "5", 'm, "x": y'))
        task = json.loads(texts["litho"])["task"]
        self.assertEqual(task["prompt"], prompt)

    def test_record_is_canonical_and_holds_every_models_file(self):
        text = png_texts(self.image)["litho"]
        record = json.loads(text)
        self.assertEqual(text, json.dumps(record, sort_keys=True, separators=(",", ":"),
                                          ensure_ascii=False))
        self.assertEqual(record["litho"], 1)
        self.assertEqual(record["task"]["cfg_scale"], 2.5)
        self.assertEqual(record["task"]["scheduler"], "automatic")
        self.assertEqual(record["model"]["name"], "sticker-128")
        for path, digest in record["model"]["files"].items():
            self.assertEqual(digest, sha256(os.path.join(MODEL, path)), path)
        for path in ("unet/diffusion_pytorch_model.safetensors", "vae/config.json",
                     "text_encoder/model.safetensors", "tokenizer/vocab.json"):
            self.assertIn(path, record["model"]["files"])
        line = [line for line in index_lines(self.path("out", "small", "index.jsonl"))
                if line["path"].endswith("fox-teal.png")][0]
        self.assertEqual(line["sha256"], sha256(self.image))
        self.assertEqual(line["device_class"], record["device_class"])


if __name__ == "__main__":
    main()
