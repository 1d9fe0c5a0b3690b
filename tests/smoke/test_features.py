#!/usr/bin/python3
"""What a picture may start from and be made with: init images, masks, second passes, LoRAs, embeddings, another VAE.
Each through `litho run`; its text and record say what it was made with, and replay makes it again."""
import hashlib
import json
import os
import random
import shutil
import struct

from programs import MODEL, SOURCE, Case, main, png_chunks, png_texts, sha256

FOX = os.path.join(SOURCE, "jobs", "examples", "fox.png")
MASK = os.path.join(SOURCE, "jobs", "examples", "mask.png")
BASE = """\
litho: 1
job: one
model: sticker-128
defaults: {size: 64x64, steps: 4, sampler: euler, seed: 5, cfg_scale: 3}
prompt: a fox on a teal background
output: {path: "{job}.png"}
"""


def size_of(path):
    with open(path, "rb") as file:
        return struct.unpack(">II", png_chunks(file.read())[0][1][:8])


def write_tensors(path, tensors):
    """{name: (shape, numbers)} as float32."""
    header, data = {}, b""
    for name, (shape, numbers) in tensors.items():
        part = struct.pack("<%df" % len(numbers), *numbers)
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode("utf-8")
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    return hashlib.sha256(data).hexdigest()


def noise(seed, n, scale=1.0):
    numbers = random.Random(seed)
    return [numbers.uniform(-scale, scale) for _ in range(n)]


def pixels(picture):
    """What is drawn, still packed: equal for equal pictures, whatever their texts say."""
    with open(picture, "rb") as file:
        return [body for kind, body in png_chunks(file.read()) if kind == b"IDAT"]


class Features(Case):
    def setUp(self):
        super().setUp()
        self.library = self.path("library")
        os.makedirs(self.library)
        os.symlink(MODEL, os.path.join(self.library, "sticker-128"))

    def render(self, more="", *sets, expect=0, out="out"):
        """The picture's path; its text's pairs; its record."""
        path = self.write("one.yaml", BASE + more)
        options = [word for change in sets for word in ("--set", change)]
        done = self.litho("run", path, "--out", out, "--workers", "1", "--models", self.library,
                          *options, expect=expect)
        picture = self.path(out, "one.png")
        if expect:
            return done
        texts = png_texts(picture)
        return picture, texts["parameters"], json.loads(texts["litho"])

    def replay(self, picture, expect=0):
        return self.litho_json("replay", picture, "--verify", "--models", self.library,
                               expect=expect)[0]

    def test_picture_to_picture_names_its_picture(self):
        shutil.copy(FOX, self.path("start.png"))
        picture, text, record = self.render("init_image: start.png\ndenoising_strength: 0.5\n")
        with open(FOX, "rb") as file:
            self.assertEqual(record["assets"],
                             {"init_image": hashlib.sha256(file.read()).hexdigest()})
        self.assertEqual(record["task"]["init_image"], self.path("start.png"))
        self.assertIn("Denoising strength: 0.5, RNG: CPU", text)
        self.assertEqual(size_of(picture), (64, 64))
        self.assertTrue(self.replay(picture)["equal"])
        shutil.copy(MASK, self.path("start.png"))
        again = self.replay(picture, expect=1)
        self.assertFalse(again["equal"])
        self.assertRegex(again["record_differs"][0], r"^file init_image: another content \(SHA-256")
        os.unlink(self.path("start.png"))
        done = self.litho("replay", picture, "--models", self.library, expect=1)
        self.assertIn("init_image: neither the coordinator nor a connected worker has '%s': put "
                      "it there" % self.path("start.png"), done.stderr)

    def test_a_missing_picture_is_a_named_failure(self):
        done = self.render("init_image: nowhere.png\n", expect=1)
        self.assertIn("warning: no file '%s' on this machine" % self.path("nowhere.png"),
                      done.stderr)
        self.assertIn("init_image: neither the coordinator nor a connected worker has '%s': put "
                      "it there" % self.path("nowhere.png"), done.stderr)

    def test_damaged_pictures_are_refused_by_name(self):
        with open(FOX, "rb") as file:
            data = file.read()
        for name, content in (("cut.png", data[:-3000]), ("not.png", b"GIF89a" + data),
                              ("none.png", b"")):
            with open(self.path(name), "wb") as file:
                file.write(content)
            done = self.render("init_image: %s\n" % name, expect=1)
            self.assertIn("init_image: ", done.stderr)
            self.assertIn(name, done.stderr)

    def test_inpainting_and_a_second_pass_say_what_they_did(self):
        picture, text, record = self.render(
            "init_image: %s\nmask: %s\nmask_blur: 2\ninpainting_fill: latent noise\n" % (FOX, MASK))
        self.assertIn("Mask blur: 2, Masked content: latent noise", text)
        self.assertEqual(sorted(record["assets"]), ["init_image", "mask"])
        self.assertTrue(self.replay(picture)["equal"])
        picture, text, _ = self.render("hr_scale: 1.5\nhr_second_pass_steps: 3\n", out="second")
        self.assertEqual(size_of(picture), (96, 96))
        self.assertIn("Denoising strength: 0.75, RNG: CPU, Hires upscale: 1.5, Hires steps: 3, "
                      "Hires upscaler: Latent", text)
        picture, text, _ = self.render("init_image: %s\noutpaint: {left: 16, bottom: 8}\n" % FOX,
                                       out="third")
        self.assertEqual(size_of(picture), (80, 72))

    def lora(self, name, scale):
        folder = os.path.join(self.library, "loras")
        os.makedirs(folder, exist_ok=True)
        layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
        with open(os.path.join(MODEL, "unet", "config.json"), encoding="utf-8") as file:
            width = json.load(file)["block_out_channels"][-1]
        path = os.path.join(folder, name + ".safetensors")
        return path, write_tensors(path, {
            layer + ".alpha": ([], [4.0]),
            layer + ".lora_down.weight": ([4, width], noise(1, 4 * width, scale)),
            layer + ".lora_up.weight": ([width, 4], noise(2, 4 * width, scale))})

    def test_loras_change_the_picture_and_are_listed(self):
        plain, _, record = self.render()
        self.assertNotIn("assets", record)
        path, data = self.lora("fur", 2.0)
        picture, text, record = self.render("", "prompt=a fox on a teal background<lora:fur:0.8>",
                                            out="with")
        with open(path, "rb") as file:
            self.assertEqual(record["assets"],
                             {"lora:fur": hashlib.sha256(file.read()).hexdigest()})
        self.assertIn('Lora hashes: "fur: %s"' % data[:12], text)
        with open(plain, "rb") as a, open(picture, "rb") as b:
            self.assertNotEqual(png_chunks(a.read())[-2], png_chunks(b.read())[-2])
        self.assertTrue(self.replay(picture)["equal"])
        self.lora("fur", 1.0)
        self.assertRegex(self.replay(picture, expect=1)["record_differs"][0],
                         r"^file lora:fur: another content")
        os.unlink(path)
        done = self.litho("replay", picture, "--models", self.library, expect=1)
        self.assertIn("fur", done.stderr)

    def test_a_lora_is_found_below_its_folder_and_by_what_its_trainer_called_it(self):
        path, _ = self.lora("fur", 2.0)
        with open(path, "rb") as file:
            data = file.read()
        prompt = "prompt=a fox on a teal background<lora:%s:0.8>"
        picture, _, _ = self.render("", prompt % "fur", out="one")
        one = pixels(picture)
        below = os.path.join(os.path.dirname(path), "animals", "soft", "fur_e10.safetensors")
        os.makedirs(os.path.dirname(below))
        os.remove(path)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + size])
        header["__metadata__"] = {"ss_output_name": "My Fur"}
        text = json.dumps(header).encode()
        with open(below, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text + data[8 + size:])
        for name in ("fur_e10", "My Fur"):
            picture, _, record = self.render("", prompt % name, out=name)
            self.assertEqual(pixels(picture), one, name)
            self.assertEqual(record["assets"], {"lora:" + name: sha256(below)})
            plan = self.litho("plan", self.path("one.yaml"), "--set", prompt % name, "--models", self.library)
            self.assertIn("MB of a worker", plan.stdout)
            self.assertNotIn("missing", plan.stdout)
        wrong = self.render("", prompt % "Fur_e10", out="wrong", expect=1)
        self.assertIn("did you mean 'fur_e10'?", wrong.stderr)
        self.assertNotIn("views", wrong.stderr)

    def test_names_of_loras_cannot_leave_their_folders(self):
        self.lora("fur", 1.0)
        for name in ("../loras/fur", "../../etc/passwd", "/etc/passwd", ".fur", "..", "a/../fur"):
            done = self.render("", "prompt=a fox <lora:%s:1>" % name, expect=2 if "/" in name else 1)
            self.assertIn("LoRA", done.stderr)
        with open(self.path("key.safetensors"), "w", encoding="utf-8") as file:
            file.write("no tensors at all")
        done = self.render("", "prompt=a fox <lora:./key.safetensors:1>", expect=1)
        self.assertIn("key", done.stderr)

    def test_embeddings_are_words_and_are_listed(self):
        folder = os.path.join(self.library, "embeddings")
        os.makedirs(folder)
        with open(os.path.join(MODEL, "text_encoder", "config.json"), encoding="utf-8") as file:
            width = json.load(file)["hidden_size"]
        path = os.path.join(folder, "glow.safetensors")
        write_tensors(path, {"emb_params": ([2, width], noise(3, 2 * width, 0.05))})
        picture, text, record = self.render("", "prompt=a glow fox")
        with open(path, "rb") as file:
            sha256 = hashlib.sha256(file.read()).hexdigest()
        self.assertEqual(record["assets"], {"embedding:glow": sha256})
        self.assertIn('TI hashes: "glow: %s"' % sha256[:12], text)
        self.assertTrue(self.replay(picture)["equal"])

    def test_another_vae_is_named_with_its_hash(self):
        folder = os.path.join(self.library, "VAE")
        os.makedirs(folder)
        shutil.copy(os.path.join(MODEL, "vae", "diffusion_pytorch_model.safetensors"),
                    os.path.join(folder, "soft.safetensors"))
        with open(os.path.join(folder, "soft.safetensors"), "rb") as file:
            sha256 = hashlib.sha256(file.read()).hexdigest()
        picture, text, record = self.render("vae: soft\n")
        self.assertIn("VAE hash: %s, VAE: soft.safetensors" % sha256[:10], text)
        self.assertIn(sha256, record["model"]["files"].values())
        self.assertTrue(self.replay(picture)["equal"])


if __name__ == "__main__":
    main()
