#!/usr/bin/python3
"""Memory before anything is spent: `litho-worker --plan`, and `litho plan`, which asks it."""
import json
import os
import shutil
import subprocess

from programs import BIN, SMALL, SOURCE, Case, environment, main, pictures

SIZES = """\
litho: 1
model: sticker-128
prompt: a fox
axes:
  size: [64x64, 128x64, 128x128, 64x128, 192x128]
  seed: 1-1000000
"""

CHAIN = """\
litho: 1
model: sticker-128
frames: 24
defaults: {size: 64x64, steps: 10, sampler: euler, denoising_strength: 0.5}
prompt: a fox
axes: {seed: [5]}
"""


class Memory(Case):
    def worker(self, *args, expect=0, given=None):
        done = subprocess.run([os.path.join(BIN, "litho-worker"), "--plan", *args],
                              env=environment(), cwd=self.folder, input=given,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done

    def test_worker_and_plan_name_the_same_bytes(self):
        asked = json.loads(self.worker("--model", "sticker-128", "--size", "64x64",
                                       "--set", "sampler=euler", "--json").stdout)
        self.assertEqual(asked["total"], asked["weights"] + asked["render"])
        path = self.write("small.yaml", SMALL)
        plan = self.litho_json("plan", path)[0]
        self.assertEqual(plan["memory"], [asked])
        self.assertIn("of a worker for 64x64 with sticker-128", self.litho("plan", path).stdout)

    def test_worker_takes_tasks_as_a_plan_prints_them(self):
        plan = self.litho_json("plan", self.write("small.yaml", SMALL))[0]
        lines = json.dumps(plan["first"]["task"]) + "\n" + json.dumps(plan["last"]["task"]) + "\n"
        said = self.worker("-", "--json", given=lines).stdout.splitlines()
        self.assertEqual(len(said), 2)
        self.assertEqual(json.loads(said[0]), plan["memory"][0])

    def test_the_largest_sizes_are_asked_for(self):
        memory = self.litho_json("plan", self.write("sizes.yaml", SIZES))[0]["memory"]
        self.assertEqual([(m["width"], m["height"]) for m in memory][:2], [(192, 128), (128, 128)])
        self.assertEqual(len(memory), 4)
        self.assertGreater(memory[0]["render"], memory[-1]["render"])

    def test_a_missing_model_keeps_no_other_from_being_told(self):
        path = self.write("two.yaml", SIZES.replace("size: [64x64, 128x64, 128x128, 64x128, "
                                                    "192x128]", "model: [none, sticker-128]"))
        plan = self.litho_json("plan", path, "--set", "size=64x64", expect=1)[0]
        self.assertEqual([m["model"] for m in plan["memory"]], ["sticker-128"])
        self.assertIn("not in the model library",
                      self.worker("--model", "none", expect=1).stderr)

    def test_what_cannot_be_rendered_is_said_in_the_plan(self):
        path = self.write("small.yaml", SMALL)
        text = self.litho("plan", path, "--set", "precision=f16").stdout
        self.assertIn("unknown: f16 is for CUDA devices", text)
        shutil.copytree(os.path.join(SOURCE, "models", "sticker-128"), self.path("library", "broken"))
        os.truncate(self.path("library", "broken", "vae", "diffusion_pytorch_model.safetensors"), 99)
        text = self.litho("plan", path, "--set", "model=broken", "--models", self.path("library"),
                          expect=1).stdout
        self.assertIn("unusable: ", text)

    def test_every_missing_file_is_told_and_a_run_warns_of_it(self):
        path = self.write("small.yaml", SMALL.replace(
            "[fox, pizza, owl]", '[fox, "<lora:none:1>", "x <lora:none:1> <lora:nor:0.5>"]'))
        more = ("--set", "axes.ground=[teal]", "--set", "init_image=%s" % self.path("no.png"))
        plan = self.litho_json("plan", path, *more, expect=1)[0]
        self.assertEqual([text.split("'")[1] for text in plan["missing"][1:]], ["none", "nor"])
        self.assertIn("no.png", plan["missing"][0])
        self.assertIn("missing   init_image ", self.litho("plan", path, *more, expect=1).stdout)
        done = self.litho("run", path, *more[:2], expect=1)
        self.assertIn("pictures will fail: LoRA 'nor' is not in the model library", done.stderr)
        self.assertEqual(len(pictures(self.path("out"))), 2)

    def plan_measured(self, work_per_second, text, *more):
        """plan's JSON and text, where an earlier run had two workers of that speed."""
        os.makedirs(self.path("out", ".litho"), exist_ok=True)
        self.write(self.path("out", ".litho", "measured.json"), json.dumps({"sticker-128": {
            "work_per_second": work_per_second, "bytes_per_pixel": 1, "images": 9, "workers": 2,
            "threads": 1}}))
        path = self.write("chain.yaml", text)
        return self.litho_json("plan", path, *more)[0], self.litho("plan", path, *more).stdout

    def test_time_of_frames_is_that_of_the_longest_chain(self):
        step = 64 * 64 * 2  # of a picture with guidance
        plan, text = self.plan_measured(step, CHAIN)  # 1 step a second, half of that by one worker
        self.assertAlmostEqual(plan["seconds"], (10 + 23 * 5) * 2)
        self.assertIn("1 chain of 24 frames, each from the one before: no more than 1 worker at "
                      "once\n", text)
        self.assertIn("frames follow each other: 1 of 2 workers has something to do\n", text)
        plan, text = self.plan_measured(step, CHAIN, "--set", "axes.seed=1-3")
        self.assertAlmostEqual(plan["seconds"], (10 + 23 * 5) * 4)
        self.assertIn("in the end 1 of 2 workers has something to do\n", text)
        plan, text = self.plan_measured(step, CHAIN, "--set", "axes.seed=1-4")
        self.assertAlmostEqual(plan["seconds"], (10 + 23 * 5) * 4)
        self.assertNotIn("something to do", text)
        plan, text = self.plan_measured(step, CHAIN, "--set", "axes.seed=1-3", "--set", "gang=2")
        self.assertAlmostEqual(plan["seconds"], (10 + 23 * 5) * 3)  # two as one

    def test_memory_is_that_of_the_frame_which_takes_most(self):
        path = self.write("chain.yaml", CHAIN)
        memory = self.litho_json("plan", path)[0]["memory"]
        self.assertEqual([m["total"] for m in memory],
                         sorted((m["total"] for m in memory), reverse=True))
        self.assertGreater(memory[0]["total"], memory[1]["total"])


if __name__ == "__main__":
    main()
