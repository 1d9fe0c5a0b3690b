#!/usr/bin/python3
"""litho-worker --device cuda:0, on the emulated device (tests/gpusim)."""
import json
import math
import os
import subprocess
import sys

from programs import (BIN, Case, Program, environment, main, pictures, png_pixels, png_texts,
                      wait_until)

MODULE = os.environ.get("LITHO_CUDA_MODULE", os.path.join(BIN, "liblitho-cuda-sim.so"))

JOB = """\
litho: 1
job: card
model: sticker-128
defaults: {size: 64x64, steps: 2, sampler: euler, precision: %s}
prompt: a fox on a teal background
axes: {seed: 1-2}
output: {path: "{job}/{seed}.png"}
"""


def signal_to_noise(path, wanted):
    """In dB, of 8-bit pictures."""
    a, b = png_pixels(path), png_pixels(wanted)
    squares = sum((x - y) ** 2 for x, y in zip(a, b))
    return 10 * math.log10(255 * 255 * len(b) / squares) if squares else math.inf


def largest_difference(path, wanted):
    """In levels, of 8-bit pictures."""
    return max(abs(x - y) for x, y in zip(png_pixels(path), png_pixels(wanted)))


def record_of(path):
    return json.loads(png_texts(path)["litho"])


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
        self.assertRegex(worker["device_class"], r"^cuda-gpusim-auto-cublas\d+-cudnn\d+$")
        for seed in (1, 2):
            record = record_of(self.path("out", "card", "%d.png" % seed))
            self.assertEqual(record["precision"], "f16")
            self.assertRegex(record["device_class"], r"^cuda-gpusim-f16-cublas\d+-cudnn\d+$")

    def test_a_picture_of_a_card_looks_as_that_of_a_processor(self):
        endpoint = self.coordinator().endpoint
        Program(self, "litho-worker", "--connect", endpoint, "--name", "card", "--device",
                "cuda:0", LITHO_CUDA_MODULE=MODULE)
        for precision in ("f16", "f32"):
            text = JOB.replace("job: card", "job: " + precision) % precision
            self.litho("submit", self.write(precision + ".yaml", text), "--connect", endpoint)
        for precision in ("f16", "f32"):
            self.litho("watch", precision, "--connect", endpoint)
        self.litho("run", "f32.yaml", "--out", self.path("processor"))
        for seed in (1, 2):
            name = "%d.png" % seed
            wanted = self.path("processor", "f32", name)
            self.assertRegex(record_of(wanted)["device_class"], r"^cpu")
            # f16 rounds to 3 digits: 50 dB and more
            self.assertGreater(signal_to_noise(self.path("out", "f16", name), wanted), 40)
            exact = self.path("out", "f32", name)
            self.assertRegex(record_of(exact)["device_class"], r"^cuda-gpusim-f32-")
            self.assertLessEqual(largest_difference(exact, wanted), 1)

    def test_f16_waits_for_a_worker_that_renders_it(self):
        endpoint = self.coordinator().endpoint
        Program(self, "litho-worker", "--connect", endpoint, "--name", "processor")
        self.litho("submit", self.write("card.yaml", JOB % "f16"), "--connect", endpoint)
        reason = "no connected worker renders precision f16; they render f32, bf16, auto"
        wait_until(lambda: reason in self.litho("status", "card", "--connect", endpoint).stdout,
                   "the job tells what it waits for")
        Program(self, "litho-worker", "--connect", endpoint, "--name", "card", "--device",
                "cuda:0", LITHO_CUDA_MODULE=MODULE)
        self.litho("watch", "card", "--connect", endpoint)
        record = record_of(self.path("out", "card", "2.png"))
        self.assertEqual(record["precision"], "f16")
        self.assertRegex(record["device_class"], r"^cuda-gpusim-f16-")

    def test_a_run_whose_workers_cannot_render_it_ends_with_the_reason(self):
        said = self.litho("run", self.write("card.yaml", JOB % "f16"), "--out", self.path("out"),
                          expect=2)
        self.assertIn("no connected worker renders precision f16; they render f32, bf16, auto: "
                      "'litho submit'", said.stderr)

    def test_a_plan_is_for_the_device(self):
        done = self.plan(LITHO_CUDA_MODULE=MODULE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("MiB at its peak", done.stdout)
        done = self.plan(LITHO_CUDA_MODULE=MODULE, GPUSIM_MEMORY="80000000")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cudaErrorMemoryAllocation", done.stderr)

    def devices(self, **changes):
        done = subprocess.run([os.path.join(BIN, "litho-worker"), "--devices"], text=True,
                              env=environment(**changes), cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_devices_are_listed_or_the_reason_is_told(self):
        lines = self.devices(LITHO_CUDA_MODULE=MODULE, GPUSIM_DEVICES="2")
        self.assertRegex(lines[0], r"^cpu.*; \d+ processors, class cpu")
        for i in (0, 1):
            self.assertRegex(lines[1 + i], r"^cuda:%d: gpusim, 8\.0 GiB, compute capability 8\.9, "
                                           r"driver for CUDA \d+\.\d; class cuda-gpusim-auto-" % i)
        self.assertEqual(len(lines), 3)
        for want, changes in [
                ("this machine has no CUDA device", {"GPUSIM_DEVICES": "0"}),
                ("driver is too old: it is for CUDA 11.4, this build needs",
                 {"GPUSIM_DRIVER": "11040"}),
                ("driver is not installed", {"GPUSIM_DRIVER": "0"}),
                ("compute capability 7.5, at least 8.0 is needed", {"GPUSIM_CAPABILITY": "75"}),
                ("none.so: cannot open", {"LITHO_CUDA_MODULE": self.path("none.so")})]:
            lines = self.devices(**{"LITHO_CUDA_MODULE": MODULE, **changes})
            self.assertEqual(len(lines), 2)
            self.assertIn(want, lines[1])

    def test_a_worker_that_loses_its_device_hands_its_tasks_back_and_starts_again(self):
        endpoint = self.coordinator().endpoint
        worker = Program(self, "litho-worker", "--connect", endpoint, "--name", "card", "--batch",
                         "1", "--device", "cuda:0", LITHO_CUDA_MODULE=MODULE,
                         GPUSIM_LOSE=self.path("lose"))
        job = JOB.replace("1-2", "1-5") % "auto"
        self.litho("submit", self.write("card.yaml", job), "--connect", endpoint)
        wait_until(lambda: pictures(self.path("out")), "a picture")
        self.write("lose", "")
        self.litho("watch", "card", "--connect", endpoint)
        self.assertEqual({os.path.join("card", "%d.png" % i) for i in range(1, 6)} -
                         set(pictures(self.path("out"))), set())
        self.assertFalse(os.path.exists(self.path("lose")))
        said = worker.text()
        self.assertIn("code=device_lost", said)
        self.assertIn("cudaErrorIllegalAddress, 700", said)
        self.assertIn("starting again", said)
        self.assertEqual(said.count("worker_started"), 2)
        self.assertEqual(worker.stop(), 0)

    def test_a_device_that_is_lost_before_the_first_picture_ends_the_worker_with_3(self):
        endpoint = self.coordinator().endpoint
        worker = Program(self, "litho-worker", "--connect", endpoint, "--name", "card", "--device",
                         "cuda:0", LITHO_CUDA_MODULE=MODULE, GPUSIM_LOSE=self.path("lose"))
        wait_until(lambda: "connected" in worker.text(), "the worker is there")
        self.write("lose", "")
        self.litho("submit", self.write("card.yaml", JOB % "auto"), "--connect", endpoint)
        self.assertEqual(worker.wait(), 3)
        self.assertIn("before a picture was finished", worker.text())
        # Its tasks wait for another worker.
        self.assertIn(self.status(endpoint, "card")["state"], ("queued", "running"))

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
