#!/usr/bin/python3
"""Files that come over the wire: a worker with an empty disk and no sight of the models renders the bytes that a worker
beside them renders; what it has it does not fetch again; what is torn or changed is noticed."""
import json
import os
import re
import shutil
import subprocess

from programs import BIN, MODEL, SIGKILL, Case, Program, environment, main, pictures, png_chunks, png_texts, sha256, wait_until
from test_features import FOX, MASK, noise, write_tensors

JOB = """\
litho: 1
job: far
model: sticker-128
defaults: {size: 64x64, steps: 2, sampler: euler, seed: 5, cfg_scale: 3}
prompt: a ${thing} on a teal background, smudge
negative_prompt: blurry
axes:
  thing: [fox, pizza]
output: {path: "{job}/{thing}.png"}
"""


def pixels(path):
    with open(path, "rb") as file:
        return [body for kind, body in png_chunks(file.read()) if kind in (b"IHDR", b"IDAT")]


def can_hide():
    """Whether a process may have a view of the file system of its own."""
    return subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode == 0


class Hidden(Program):
    """A worker that sees nothing but emptiness at a folder."""

    def __init__(self, case, folder, *args, **changes):
        self.log = os.path.join(case.folder, "hidden-%d.log" % len(case.programs))
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", script, folder, os.path.join(BIN, "litho-worker"), *args],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=case.folder, env=environment(**changes))
        case.programs.append(self)


class Assets(Case):
    def setUp(self):
        super().setUp()
        self.library = self.path("library")
        shutil.copytree(MODEL, os.path.join(self.library, "sticker-128"),
                        ignore=shutil.ignore_patterns("training", "*.md", "*.png"))
        self.home = self.path("home")
        os.makedirs(self.home)
        self.cache = self.path("home", "cache")

    def start(self, n=1):
        self.boss = self.coordinator("state%d" % n, "out%d" % n, "ipc://" + self.path("socket%d" % n),
                                     "--models", self.library)
        return self.boss.endpoint

    def far_worker(self, endpoint, name="far", *more):
        options = ["--connect", endpoint, "--name", name, "--threads", "1", "--cache-dir", self.cache,
                   "--models", self.path("nothing"), *more]
        changes = {"HOME": self.home, "LITHO_MODELS": self.path("nothing")}
        if can_hide():
            return Hidden(self, self.library, *options, **changes)
        return Program(self, "litho-worker", *options, "--no-shared-files", **changes)

    def near_worker(self, endpoint, name="near"):
        return Program(self, "litho-worker", "--connect", endpoint, "--name", name, "--threads", "1",
                       "--models", self.library, "--cache-dir", self.path("near-cache"))

    def test_chosen_cache_folder_that_cannot_be_used_ends_the_worker_at_once(self):
        self.write("file", "")
        program = Program(self, "litho-worker", "--connect", "ipc://" + self.path("nobody"),
                          "--cache-dir", self.path("file", "cache"))
        self.assertEqual(program.wait(), 1, program.text())
        self.assertIn("the cache folder '%s' cannot be used" % self.path("file", "cache"),
                      program.text())

    def render(self, endpoint, text=JOB, name="job.yaml", *options, expect=0):
        return self.litho("submit", self.write(name, text), "--connect", endpoint, "--wait", *options, expect=expect)

    def fetched(self):
        """Files in the far worker's cache."""
        folder = os.path.join(self.cache, "files")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def stamps(self):
        return {name: os.stat(os.path.join(self.cache, "files", name)).st_mtime_ns for name in self.fetched()}

    def test_a_worker_with_an_empty_disk_renders_the_same_bytes(self):
        os.makedirs(os.path.join(self.library, "loras"))
        os.makedirs(os.path.join(self.library, "embeddings"))
        os.makedirs(os.path.join(self.library, "pictures"))
        write_tensors(os.path.join(self.library, "embeddings", "smudge.safetensors"), {"emb_params": ([1, 192], noise(2, 192, 0.3))})
        for name, path in (("fox.png", FOX), ("mask.png", MASK)):
            shutil.copy(path, os.path.join(self.library, "pictures", name))
        job = JOB + "init_image: library/pictures/fox.png\nmask: library/pictures/mask.png\ndenoising_strength: 0.8\n"
        endpoint = self.start(1)
        self.near_worker(endpoint)
        self.render(endpoint, job)
        expected = pictures(self.path("out1"))
        self.assertEqual(len(expected), 3)  # and the sheet
        self.assertFalse(os.path.exists(self.path("near-cache")))  # it had them all
        self.boss.stop()

        endpoint = self.start(2)
        worker = self.far_worker(endpoint)
        self.render(endpoint, job)
        self.assertEqual(pictures(self.path("out2")), expected)
        self.assertGreaterEqual(len(self.fetched()), 8)
        self.assertEqual(os.listdir(os.path.join(self.cache, "parts")), [])
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(os.listdir(os.path.join(self.cache, "views")), [])

    def named_files(self):
        """A LoRA and an embedding somewhere on the coordinator's machine; the embedding's hash."""
        with open(os.path.join(MODEL, "unet", "config.json"), encoding="utf-8") as file:
            width = json.load(file)["block_out_channels"][-1]
        layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
        os.makedirs(os.path.join(self.library, "styles"))
        lora, word = (os.path.join(self.library, "styles", name) for name in ("ink.safetensors", "word.safetensors"))
        write_tensors(lora, {layer + ".alpha": ([], [4.0]),
                             layer + ".lora_down.weight": ([4, width], noise(1, 4 * width, 2.0)),
                             layer + ".lora_up.weight": ([width, 4], noise(2, 4 * width, 2.0))})
        write_tensors(word, {"emb_params": ([1, 192], noise(2, 192, 0.3))})
        return lora, word, sha256(word)

    def test_a_lora_by_path_and_an_embedding_by_hash_reach_a_worker_without_files(self):
        lora, word, digest = self.named_files()
        plain = JOB.replace("a ${thing}", "a ${thing} <lora:ink:0.8>")
        endpoint = self.start(1)
        self.near_worker(endpoint)
        for folder, source, name in (("loras", lora, "ink"), ("embeddings", word, "smudge")):
            os.makedirs(os.path.join(self.library, folder))
            shutil.copy(source, os.path.join(self.library, folder, name + ".safetensors"))
        self.render(endpoint, plain)
        expected = {name: pixels(self.path("out1", "far", name)) for name in ("fox.png", "pizza.png")}
        self.render(endpoint, plain.replace("job: far", "job: less").replace("<lora:ink:0.8>", ""))
        self.assertNotEqual(pixels(self.path("out1", "less", "fox.png")), expected["fox.png"])
        self.boss.stop()
        shutil.rmtree(os.path.join(self.library, "loras"))
        shutil.rmtree(os.path.join(self.library, "embeddings"))

        endpoint = self.start(2)
        self.far_worker(endpoint)
        bound = plain + "loras: {ink: library/styles/ink.safetensors}\nembeddings: {smudge: sha256:%s}\n" % digest
        in_prompt = bound.replace("job: far", "job: direct").replace("<lora:ink:0.8>", "<lora:library/styles/ink.safetensors:0.8>")
        in_prompt = re.sub("loras: .*\n", "", in_prompt)
        self.render(endpoint, bound)
        self.render(endpoint, in_prompt, "direct.yaml")
        for name, want in expected.items():
            self.assertEqual(pixels(self.path("out2", "far", name)), want)
            self.assertEqual(pixels(self.path("out2", "direct", name)), want)
        record = json.loads(png_texts(self.path("out2", "direct", "fox.png"))["litho"])
        self.assertEqual(record["task"]["loras"], {"ink": lora})
        self.assertEqual(record["task"]["embeddings"], {"smudge": "sha256:" + digest})
        self.assertEqual(record["assets"], {"lora:ink": sha256(lora), "embedding:smudge": digest})
        self.assertIn("<lora:ink:0.8>", record["task"]["prompt"])
        done = self.litho("replay", self.path("out2", "direct", "fox.png"), "--verify", "--models", self.library)
        self.assertIn("equal", done.stdout)
        with open(lora, "r+b") as file:  # another LoRA now: its pictures are rendered again, and no others
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\0\0\0")
        self.render(endpoint, bound)
        self.assertNotEqual(pixels(self.path("out2", "far", "fox.png")), expected["fox.png"])
        self.assertEqual(pixels(self.path("out2", "direct", "fox.png")), expected["fox.png"])
        none = lora.replace("ink", "oil")
        done = self.render(endpoint, bound.replace("job: far", "job: none").replace("ink.safe", "oil.safe"), expect=1)
        self.assertIn("job.yaml:10:14: warning: no file '%s' on this machine" % none, done.stdout + done.stderr)
        self.assertIn("LoRA 'ink': neither the coordinator nor a connected worker has '%s'" % none, done.stdout + done.stderr)

    def test_what_is_here_is_not_fetched_again_but_what_is_torn(self):
        endpoint = self.start()
        worker = self.far_worker(endpoint)
        self.render(endpoint)
        expected = pictures(self.path("out1"))
        worker.kill()
        largest = max(self.fetched(), key=lambda name: os.path.getsize(os.path.join(self.cache, "files", name)))
        with open(os.path.join(self.cache, "files", largest), "r+b") as file:
            file.seek(5000)
            file.write(b"torn")
        files = self.stamps()
        shutil.rmtree(self.path("out1", "far"))
        self.far_worker(endpoint, "again")
        self.render(endpoint)
        self.assertEqual(pictures(self.path("out1")), expected)
        again = self.stamps()
        self.assertEqual(set(again), set(files))
        self.assertEqual([name for name in files if files[name] != again[name]], [largest])

    def test_a_fetch_survives_the_death_of_both(self):
        endpoint = self.start()
        worker = self.far_worker(endpoint)
        self.litho("submit", self.write("job.yaml", JOB), "--connect", endpoint)
        wait_until(lambda: self.fetched(), "a first file came")
        self.boss.signal(SIGKILL)
        self.boss.wait()
        worker.signal(SIGKILL)
        worker.wait()
        endpoint = self.start()
        self.far_worker(endpoint, "next")
        self.render(endpoint)
        self.assertEqual(len(pictures(self.path("out1"))), 3)  # and the sheet

    def test_a_model_that_changes_under_its_name_is_rendered_again(self):
        endpoint = self.start()
        self.near_worker(endpoint)
        self.far_worker(endpoint)
        self.render(endpoint)
        before = pictures(self.path("out1"))
        self.render(endpoint)
        self.assertEqual(pictures(self.path("out1")), before)  # nothing changed, nothing is rendered
        path = os.path.join(self.library, "sticker-128", "scheduler", "scheduler_config.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("0.012", "0.011"))
        self.render(endpoint)
        after = pictures(self.path("out1"))
        self.assertEqual(set(after), set(before))
        for name in before:
            self.assertNotEqual(after[name], before[name])

    def test_a_hash_names_a_model_and_a_missing_one_fails_by_name(self):
        single = os.path.join(self.library, "pictures", "fox.png")
        os.makedirs(os.path.dirname(single))
        shutil.copy(FOX, single)
        endpoint = self.start()
        self.far_worker(endpoint)
        by_path = JOB + "init_image: library/pictures/fox.png\ndenoising_strength: 0.8\n"
        self.render(endpoint, by_path)
        expected = sha256(self.path("out1", "far", "fox.png"))
        listing = re.search(r"role=model name=sticker-128 sha256=([0-9a-f]{64})", self.boss.text()).group(1)
        picture = sha256(single)
        by_hash = (by_path.replace("job: far", "job: hashed").replace("library/pictures/fox.png", "sha256:" + picture)
                   .replace("model: sticker-128", "model: sha256:" + listing))
        self.render(endpoint, by_hash)
        self.assertEqual(pixels(self.path("out1", "hashed", "fox.png")), pixels(self.path("out1", "far", "fox.png")))
        self.assertNotEqual(sha256(self.path("out1", "hashed", "fox.png")), expected)  # the record names them so
        done = self.render(endpoint, JOB.replace("job: far", "job: none").replace("model: sticker-128", "model: sha256:" + 64 * "0"), expect=1)
        self.assertIn("asset_missing", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
