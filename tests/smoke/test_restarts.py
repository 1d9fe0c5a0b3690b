#!/usr/bin/python3
"""Programs that die, come and go under load: each picture once, with the bytes of a calm run."""
import os
import random
import re

from programs import (SIGINT, SIGKILL, Case, Program, children, index_lines, main, pictures,
                      wait_until)

POINTS = 10  # kills of the coordinator
CALM = {}  # pictures of a run that nothing disturbed; the first test that asks makes it

JOB = """\
litho: 1
job: load
model: sticker-128
defaults: {size: 64x64, steps: 1, sampler: euler, cfg_scale: 1}
prompt: a ${thing} on a teal background
axes: {thing: [fox, pizza, owl], seed: 1-10}
output: {path: "{job}/{thing}-{seed}.png", sheet: {x: seed, y: thing}}
"""


class Restarts(Case):
    def setUp(self):
        super().setUp()
        self.job = self.write("load.yaml", JOB)

    def check_whole(self, folder="out"):
        """One file and one line per task, equal to a calm run's; no leftovers."""
        if not CALM:
            self.litho("run", self.job, "--out", "calm")
            CALM.update(pictures(self.path("calm")))
        self.assertEqual(pictures(self.path(folder)), CALM)
        lines = index_lines(self.path(folder, "load", "index.jsonl"))
        self.assertEqual(sorted(line["index"] for line in lines), list(range(30)))
        self.check_no_leftovers(folder)

    def check_no_leftovers(self, folder="out"):
        for place, folders, files in os.walk(self.path(folder)):
            if ".litho" in folders:
                folders.remove(".litho")
            for name in files:
                self.assertTrue(name.endswith(".png") or name in ("index.jsonl", "job.json"),
                                os.path.join(place, name))

    def test_coordinator_killed_at_many_points(self):
        """A kill after every few events of the log: probes, files, commits, acknowledgements."""
        dice = random.Random(20)
        coordinator = self.coordinator()
        workers = [self.worker(coordinator.endpoint, name) for name in ("one", "two")]
        self.litho("submit", self.job, "--connect", coordinator.endpoint)
        watch = Program(self, "litho", "watch", "load", "--connect", coordinator.endpoint)
        index = self.path("out", "load", "index.jsonl")
        for point in range(POINTS):
            # The next file that appears, finished or not, after a number of looks by the dice.
            looks, seen = dice.randrange(1, 40), self.entries()
            wait_until(lambda: self.entries() != seen or self.settled(index) == 30,
                       "something happens at point %d" % point)
            for _ in range(looks):
                self.entries()
            coordinator.kill()
            coordinator = self.coordinator()
        self.assertEqual(watch.wait(), 0, watch.text())
        self.assertEqual(self.status(coordinator.endpoint, "load")["failed"], 0)
        for program in workers + [coordinator]:
            self.assertEqual(program.stop(), 0, program.text())
        self.check_whole()

    def entries(self):
        try:
            return sorted(os.listdir(self.path("out", "load")))
        except OSError:
            return []

    @staticmethod
    def settled(index):
        try:
            with open(index, "rb") as file:
                return file.read().count(b"\n")
        except OSError:
            return 0

    def test_workers_join_in_mid_job_and_leave(self):
        coordinator = self.coordinator()
        first = self.worker(coordinator.endpoint, "first")
        self.litho("submit", self.job, "--connect", coordinator.endpoint)
        wait_until(lambda: self.status(coordinator.endpoint, "load")["done"] >= 2, "two pictures")
        others = [self.worker(coordinator.endpoint, name) for name in ("second", "third")]
        self.assertEqual(first.stop(), 0, first.text())
        self.litho("watch", "load", "--connect", coordinator.endpoint)
        for program in others + [coordinator]:
            self.assertEqual(program.stop(), 0, program.text())
        lines = index_lines(self.path("out", "load", "index.jsonl"))
        self.assertNotEqual(lines[-1]["worker"], "first")
        self.check_whole()

    def test_results_rendered_while_the_coordinator_is_away_wait_on_disk(self):
        os.mkdir(self.path("spill"))
        coordinator = self.coordinator()
        worker = Program(self, "litho-worker", "--connect", coordinator.endpoint, "--name", "only",
                         "--threads", "1", "--credits", "8", "--keep", "1",
                         "--spill-dir", self.path("spill"), "--log-level", "debug")
        self.litho("submit", self.job, "--connect", coordinator.endpoint)
        wait_until(lambda: self.status(coordinator.endpoint, "load")["done"] >= 1, "a picture")
        coordinator.kill()
        kept = worker.text().count("result_spilled")
        wait_until(lambda: worker.text().count("result_spilled") >= kept + 4, "results on disk")
        waiting = {tuple(map(int, name[:-len(".png")].split("-")[1:]))  # JOB-INDEX-ATTEMPT.png
                   for _, _, files in os.walk(self.path("spill")) for name in files}
        self.assertGreaterEqual(len(waiting), 4)
        coordinator = self.coordinator()
        self.litho("watch", "load", "--connect", coordinator.endpoint)
        lines = index_lines(self.path("out", "load", "index.jsonl"))
        self.assertLessEqual(waiting, {(line["index"], line["attempt"]) for line in lines})
        # A number may be skipped (its lease died with the coordinator), but nothing is rendered twice.
        starts = re.findall(r" start .* batch=(\d+)", worker.text())
        self.assertEqual(sum(map(int, starts)), 30, worker.text())
        self.assertEqual(worker.stop(), 0, worker.text())
        self.assertEqual(os.listdir(self.path("spill")), [])
        self.check_whole()

    def test_job_cancelled_in_mid_run_leaves_whole_pictures_only(self):
        coordinator = self.coordinator()
        worker = self.worker(coordinator.endpoint, "only")
        self.litho("submit", self.job, "--connect", coordinator.endpoint)
        watch = Program(self, "litho", "watch", "load", "--connect", coordinator.endpoint)
        wait_until(lambda: self.status(coordinator.endpoint, "load")["done"] >= 2, "two pictures")
        cancelled = self.litho_json("cancel", "load", "--connect", coordinator.endpoint)[0]
        self.assertEqual(cancelled["state"], "cancelled")
        self.assertEqual(watch.wait(), 1, watch.text())
        self.assertIn("cancelled", watch.text())
        wait_until(lambda: [w["state"] for w in self.litho_json(
            "workers", "--connect", coordinator.endpoint)] == ["idle"], "the worker is free")
        left = self.status(coordinator.endpoint, "load")
        self.assertEqual(left["done"], len(pictures(self.path("out"))))
        self.check_no_leftovers()
        self.litho("submit", self.job, "--connect", coordinator.endpoint)
        self.litho("watch", "load", "--connect", coordinator.endpoint)
        for program in (worker, coordinator):
            self.assertEqual(program.stop(), 0, program.text())
        self.check_whole()

    def test_interrupted_and_killed_runs_leave_no_child_and_no_rubbish(self):
        for number in (SIGINT, SIGKILL):
            run = Program(self, "litho", "run", self.job, "--workers", "4", TMPDIR=self.folder)
            before = len(pictures(self.path("out")))
            wait_until(lambda: run.process.poll() is not None or
                       len(pictures(self.path("out"))) > before, "a picture")
            kids = children(run.process.pid)
            run.signal(number)
            self.assertEqual(run.wait(), 130 if number == SIGINT else -SIGKILL, run.text())
            wait_until(lambda: not any(running(pid) for pid, _ in kids), "the children's end")
            if number == SIGINT:
                self.check_no_leftovers()
        final = self.litho_json("run", self.job)[-1]
        self.assertLess(final["rendered"], 30)
        self.check_whole()

    def test_an_edited_manifest_has_a_folder_of_its_own_and_renders_only_what_changed(self):
        self.litho("run", self.job, "--set", "axes.seed=1-2")
        first = pictures(self.path("out", "load"))
        index = index_lines(self.path("out", "load", "index.jsonl"))
        other = ["--set", "prompt=one ${thing} on a pink background"]
        edited = self.litho_json("run", self.job, "--set", "axes.seed=1-2", *other)[-1]
        self.assertEqual((edited["done"], edited["failed"], edited["rendered"]), (6, 0, 6))
        self.assertEqual(edited["folder"], self.path("out", "load-2"))
        second = pictures(self.path("out", "load-2"))
        self.assertEqual(set(second), set(first))
        self.assertFalse(set(second.values()) & set(first.values()))
        more = self.litho_json("run", self.job)[-1]  # the first one's tasks and further ones
        self.assertEqual((more["done"], more["failed"]), (30, 0))
        self.assertEqual(more["folder"], self.path("out", "load-3"))
        lines = index_lines(more["index"])
        self.assertEqual(sum(line["attempt"] == 0 for line in lines), 6, "taken over, not rendered")
        self.assertTrue(all(line["path"].startswith("load-3/") for line in lines))
        third = pictures(self.path("out", "load-3"))
        self.assertEqual({n: h for n, h in first.items() if "sheet" not in n},
                         {n: h for n, h in third.items() if n in first and "sheet" not in n})
        back = self.litho_json("run", self.job, "--set", "axes.seed=1-2")[-1]
        self.assertEqual((back["folder"], back["rendered"]), (self.path("out", "load"), 0))
        self.assertEqual(pictures(self.path("out", "load")), first)
        self.assertEqual(index_lines(back["index"]), index)
        self.assertIn(self.path("out", "load-2"), self.litho(
            "plan", self.job, "--out", self.path("out"), "--set", "axes.seed=1-2", *other).stdout)

    def test_where_paths_have_no_job_in_them_only_force_replaces_pictures(self):
        plain = ["--set", 'output.path="{thing}-{seed}.png"', "--set", "axes.seed=1-2"]
        other = ["--set", "prompt=one ${thing} on a pink background"]
        self.litho("run", self.job, *plain)
        first = pictures(self.path("out"))
        refused = self.litho("run", self.job, *plain, *other, expect=1)
        self.assertIn("--force", refused.stderr)
        self.assertEqual({n: h for n, h in pictures(self.path("out")).items() if n in first}, first)
        forced = self.litho_json("run", self.job, *plain, *other, "--force")[-1]
        self.assertEqual((forced["rendered"], forced["failed"]), (6, 0))


def running(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    main()
