#!/usr/bin/python3
"""Chains of frames by real programs: the same bytes by any workers, whatever happens to them."""
import json
import os
import shutil
import unittest

from programs import (SIGKILL, SOURCE, Case, Program, index_lines, main, pictures, png_texts, sha256,
                      wait_until)

JOB = """\
litho: 1
job: walk
model: sticker-128
defaults: {size: 64x64, steps: %d, sampler: euler_a, cfg_scale: 3, seed: 7, precision: f32,
           denoising_strength: 0.6}
prompt: a ${thing} on a teal background
negative_prompt: blurry
axes: {thing: [%s]}
frames: %d
%s
output: {path: "{job}/{thing}/{frame:03}.png"}
"""


class Chains(Case):
    def job(self, steps=3, things="fox, owl", frames=3, more=""):
        return JOB % (steps, things, frames, more)

    def run_job(self, out, workers, text, name="walk.yaml", expect=0):
        self.litho("run", self.write(name, text), "--out", self.path(out), "--workers",
                   str(workers), expect=expect)
        return pictures(self.path(out))

    def assert_linked(self, out, things, frames, job="walk"):
        """Each record and picture names the frame before it."""
        lines = {line["path"]: line for line in index_lines(self.path(out, job, "index.jsonl"))}
        for thing in things:
            for frame in range(frames):
                path = "%s/%s/%03d.png" % (job, thing, frame)
                before = sha256(self.path(out, job, thing, "%03d.png" % (frame - 1))) \
                    if frame else None
                task = json.loads(png_texts(self.path(out, path))["litho"])["task"]
                self.assertEqual(lines[path].get("before"), before)
                self.assertEqual(task.get("init_image"), before and "sha256:" + before)
                self.assertEqual(task["seed"], 7 + frame)

    def test_one_worker_and_two_make_the_same_frames(self):
        alone = self.run_job("alone", 1, self.job())
        both = self.run_job("both", 2, self.job())
        self.assertEqual(alone, both)
        self.assertEqual(len(alone), 7)  # and the sheet
        self.assertEqual(len(set(alone.values())), 7)
        self.assert_linked("both", ("fox", "owl"), 3)

    def test_a_frame_that_is_gone_is_made_again_and_what_follows_is_kept(self):
        before = self.run_job("out", 1, self.job(things="fox", frames=4))
        stamps = {frame: os.stat(self.path("out", "walk", "fox", "%03d.png" % frame)).st_ino
                  for frame in (2, 3)}
        os.remove(self.path("out", "walk", "fox", "001.png"))
        self.assertEqual(self.run_job("out", 1, self.job(things="fox", frames=4)), before)
        for frame, stamp in stamps.items():
            self.assertEqual(os.stat(self.path("out", "walk", "fox", "%03d.png" % frame)).st_ino,
                             stamp)
        self.assert_linked("out", ("fox",), 4)

    def test_an_edited_frame_changes_those_after_it_and_none_before(self):
        text = self.job(things="fox", frames=4, more="combine: thing * (frame, cfg_scale)").replace(
            "cfg_scale: 3, ", "").replace("[fox]", "[fox], cfg_scale: [3, 3, %d, 3]")
        before = self.run_job("out", 1, text % 3)
        after = self.run_job("out", 1, text % 6)
        self.assert_linked("out", ("fox",), 4, "walk-2")
        same = [before["walk/fox/%03d.png" % i] == after["walk-2/fox/%03d.png" % i]
                for i in range(4)]
        self.assertEqual(same, [True, True, False, False])

    def test_a_worker_killed_in_mid_chain_changes_no_byte(self):
        text = self.job(steps=12, things="fox", frames=4)
        alone = self.run_job("alone", 1, text)
        endpoint = self.coordinator().endpoint
        workers = {name: self.worker(endpoint, name) for name in ("one", "two")}
        self.litho("submit", self.write("walk.yaml", text), "--connect", endpoint)

        def in_mid_chain():
            status = self.status(endpoint, "walk")
            return status["done"] >= 1 and [task for task in status["running_tasks"]
                                            if task["step"] >= 2]
        victim = wait_until(in_mid_chain, "a later frame is at work")[0]["worker"]
        workers[victim].signal(SIGKILL)
        self.litho("watch", "walk", "--connect", endpoint)
        self.assertEqual(pictures(self.path("out")), alone)
        self.assert_linked("out", ("fox",), 4)

    def test_a_coordinator_killed_in_mid_chain_goes_on_there(self):
        text = self.job(steps=12, things="fox", frames=4)
        alone = self.run_job("alone", 1, text)
        coordinator = self.coordinator()
        endpoint = coordinator.endpoint
        self.worker(endpoint, "one")
        self.litho("submit", self.write("walk.yaml", text), "--connect", endpoint)
        wait_until(lambda: self.status(endpoint, "walk")["done"] >= 1, "a frame is done")
        coordinator.kill()
        os.remove(self.path("socket"))
        os.remove(self.path("state", "endpoint"))
        endpoint = self.coordinator().endpoint
        self.litho("watch", "walk", "--connect", endpoint)
        self.assertEqual(pictures(self.path("out")), alone)

    def test_workers_that_would_wait_share_the_frames_and_change_no_byte(self):
        alone = self.run_job("alone", 1, self.job(steps=6, things="fox", frames=5))
        coordinator = self.coordinator()
        workers = [self.worker(coordinator.endpoint, name) for name in ("one", "two")]
        wait_until(lambda: len(self.litho_json("workers", "--connect", coordinator.endpoint)) == 2,
                   "both are there")
        self.litho("submit", self.write("auto.yaml", self.job(
            steps=6, things="fox", frames=5, more="gang: auto")), "--connect", coordinator.endpoint)
        self.litho("watch", "walk", "--connect", coordinator.endpoint)
        self.assertEqual(pictures(self.path("out")), alone)
        self.assertGreaterEqual(coordinator.text().count("gang job="), 1, coordinator.text())
        status = self.status(coordinator.endpoint, "walk")
        self.assertGreater(status["gang"]["step_ms"], 0)
        self.assertGreater(status["gang"]["speedup"], 0)
        for worker in workers:
            self.assertEqual(worker.stop(), 0, worker.text())

    def test_an_altered_frame_stops_its_chain_with_a_reason_and_the_job_ends(self):
        text = self.job(things="fox", frames=3)
        self.run_job("out", 1, text)
        os.remove(self.path("out", "walk", "fox", "002.png"))
        with open(self.path("out", "walk", "fox", "001.png"), "ab") as file:
            file.write(b"more")
        done = self.litho("run", self.write("walk.yaml", text), "--out", self.path("out"),
                          "--workers", "1", expect=1)
        self.assertIn("is not as it was recorded: it was changed", done.stdout + done.stderr)
        os.remove(self.path("out", "walk", "fox", "001.png"))
        self.run_job("out", 1, text)
        self.assert_linked("out", ("fox",), 3)

    def test_what_a_failed_frame_took_with_it_is_rendered_by_retry(self):
        fox, mask = (os.path.join(SOURCE, "jobs", "examples", name)
                     for name in ("fox.png", "mask.png"))
        text = self.job(things="fox", frames=3, more="combine: thing * (frame, mask)").replace(
            "[fox]", "[fox], mask: [%s, %s, %s]" % (mask, self.path("late.png"), mask)).replace(
                "frames:", "init_image: %s\nframes:" % fox).replace("64x64", "128x128")
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "one")
        self.litho("submit", self.write("walk.yaml", text), "--connect", endpoint)
        self.litho("watch", "walk", "--connect", endpoint, expect=1)
        status = self.status(endpoint, "walk")
        self.assertEqual((status["state"], status["done"], status["failed"]), ("failed", 1, 2))
        self.assertEqual([failure["index"] for failure in status["failures"]], [1, 2])
        self.assertRegex(status["failures"][1]["text"], r"^the chain broke at frame 1 \(task 1\): ")
        shutil.copy(mask, self.path("late.png"))
        self.litho("retry", "walk", "--failed", "--connect", endpoint)
        self.litho("watch", "walk", "--connect", endpoint)
        self.assertEqual(len(pictures(self.path("out"))), 4)

    def test_replay_finds_the_frame_before_beside_the_picture(self):
        self.run_job("out", 1, self.job(things="fox", frames=3))
        image = self.path("out", "walk", "fox", "002.png")
        self.assertIn("equal", self.litho("replay", image, "--verify").stdout)
        os.remove(self.path("out", "walk", "fox", "001.png"))
        done = self.litho("replay", image, "--verify", expect=1)
        self.assertIn("no PNG file beside it has that one's SHA-256", done.stderr)

    def test_plan_tells_what_chains_there_are(self):
        text = self.litho("plan", self.write("walk.yaml", self.job(frames=24))).stdout
        self.assertIn("48 images", text)
        self.assertIn("2 chains of 24 frames", text)


if __name__ == "__main__":
    main()
