#!/usr/bin/python3
"""Gangs of real workers: the pictures of one worker, and what a lost member does to them."""
import os
import re

from programs import SIGKILL, Case, index_lines, main, pictures, wait_until

JOB = """\
litho: 1
job: shared
model: sticker-128
defaults: {size: 64x64, steps: %d, sampler: euler_a, cfg_scale: 3}
prompt: a fox on a teal background
negative_prompt: blurry
axes: {seed: 1-%d}
%s
output: {path: "{job}/{seed}.png"}
"""


class Gangs(Case):
    def alone(self, steps, n):
        """{name: SHA-256} of the same pictures by one worker."""
        self.litho("run", self.write("alone.yaml", JOB % (steps, n, "")), "--out",
                   self.path("alone"))
        return pictures(self.path("alone"))

    def test_two_workers_share_every_picture_and_no_byte_changes(self):
        endpoint = self.coordinator().endpoint
        workers = [self.worker(endpoint, name) for name in ("one", "two")]
        self.litho("submit", self.write("pair.yaml", JOB % (3, 2, "gang: 2")), "--connect",
                   endpoint)
        self.litho("watch", "shared", "--connect", endpoint)
        self.assertEqual(pictures(self.path("out")), self.alone(3, 2))
        status = self.status(endpoint, "shared")
        self.assertEqual(status["gang"]["shape"], "guidance 2, tensor 1")
        self.assertIn("gang    guidance 2", self.litho("status", "shared", "--connect",
                                                       endpoint).stdout)
        lines = index_lines(self.path("out", "shared", "index.jsonl"))
        self.assertEqual(len(lines), 2)
        for worker in workers:
            self.assertEqual(worker.stop(), 0, worker.text())

    def test_a_member_killed_in_mid_step_costs_no_picture(self):
        coordinator = self.coordinator()
        endpoint = coordinator.endpoint
        workers = [self.worker(endpoint, name) for name in ("one", "two", "three")]
        self.litho("submit", self.write("pair.yaml", JOB % (12, 1, "gang: 2")), "--connect",
                   endpoint)

        def at_work():
            running = self.status(endpoint, "shared")["running_tasks"]
            return [task for task in running if task["step"] >= 2]
        victim = wait_until(at_work, "a gang is at work")[0]["worker"]
        workers[("one", "two", "three").index(victim)].signal(SIGKILL)
        self.litho("watch", "shared", "--connect", endpoint)
        self.assertEqual(pictures(self.path("out")), self.alone(12, 1))
        self.assertEqual(len(re.findall("event=gang |gang job=", coordinator.text())) >= 2, True,
                         coordinator.text())


if __name__ == "__main__":
    main()
