#!/usr/bin/python3
"""litho-worker --device cuda:0, on the emulated device (tests/gpusim)."""
import json
import os
import subprocess
import sys

from programs import BIN, Case, Program, environment, main, png_texts

MODULE = os.path.join(BIN, "liblitho-cuda-sim.so")

JOB = """\
litho: 1
job: card
model: sticker-128
defaults: {size: 64x64, steps: 2, sampler: euler, precision: %s}
prompt: a fox on a teal background
axes: {seed: 1-2}
output: {path: "{job}/{seed}.png"}
"""


class Cuda(Case):
    def plan(self, *args, **changes):
        return subprocess.run([os.path.join(BIN, "litho-worker"), "--plan", "--device", "cuda:0",
                               "--model", "sticker-128", "--size", "64x64", *args],
                              env=environment(**changes), cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def test_a_worker_on_cuda_renders_and_says_what_it_is(self):
        endpoint = self.coordinator().endpoint
        Program(self, "litho-worker", "--connect", endpoint, "--name", "card", "--device",
                "cuda:0", LITHO_CUDA_MODULE=MODULE)
        self.litho("submit", self.write("card.yaml", JOB % "auto"), "--connect", endpoint)
        self.litho("watch", "card", "--connect", endpoint)
        worker = self.litho_json("workers", "--connect", endpoint)[0]
        self.assertRegex(worker["device"], r"cuda:0: gpusim, .* GiB, compute capability \d+\.\d")
        self.assertRegex(worker["device_class"], r"^cuda-gpusim-f16-cublas\d+-cudnn\d+$")
        for seed in (1, 2):
            record = json.loads(png_texts(self.path("out", "card", "%d.png" % seed))["litho"])
            self.assertEqual(record["precision"], "f16")

    def test_f32_is_not_to_be_had_there(self):
        endpoint = self.coordinator().endpoint
        Program(self, "litho-worker", "--connect", endpoint, "--name", "card", "--device",
                "cuda:0", LITHO_CUDA_MODULE=MODULE)
        self.litho("submit", self.write("card.yaml", JOB % "f32"), "--connect", endpoint)
        said = self.litho("watch", "card", "--connect", endpoint, expect=1)
        self.assertIn("f16 or bf16, not in f32", said.stdout + said.stderr)

    def test_a_plan_is_for_the_device(self):
        done = self.plan(LITHO_CUDA_MODULE=MODULE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("MiB at its peak", done.stdout)
        done = self.plan(LITHO_CUDA_MODULE=MODULE, GPUSIM_MEMORY="80000000")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cudaErrorMemoryAllocation", done.stderr)

    def test_without_the_module_the_reason_is_told(self):
        done = self.plan(LITHO_CUDA_MODULE=self.path("none.so"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("no CUDA here: ", done.stderr)
        self.assertIn("none.so", done.stderr)


if __name__ == "__main__":
    if not os.path.exists(MODULE):
        print("SKIPPED: this build has no emulated device")
        sys.exit(77)
    main()
