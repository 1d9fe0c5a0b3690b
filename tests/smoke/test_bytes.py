#!/usr/bin/python3
"""The same manifest gives the same bytes, whoever renders, however often somebody dies."""
from programs import (LONG, SIGKILL, SIGSTOP, SMALL, Case, index_lines, main, pictures, wait_until)


class SameBytes(Case):
    def test_one_two_and_four_workers_make_the_same_files(self):
        job = self.write("small.yaml", SMALL)
        found = {}
        for workers in (1, 2, 4):
            out = "out%d" % workers
            self.litho("run", job, "--workers", str(workers), "--threads",
                       "2" if workers == 1 else "1", "--out", out)
            found[workers] = pictures(self.path(out))
        self.assertEqual(len(found[1]), 7)
        self.assertEqual(found[1], found[2])
        self.assertEqual(found[1], found[4])


class Deaths(Case):
    def setUp(self):
        super().setUp()
        self.job = self.write("long.yaml", LONG)

    def submit(self, endpoint):
        """Submits the job with one seed axis as written: nothing is drawn, all runs are alike."""
        return self.litho_json("submit", self.job, "--connect", endpoint)[0]["job"]

    calm = None  # the pictures of a run that nothing happened to; equal for all tests

    def reference(self):
        if not Deaths.calm:
            self.litho("run", self.job, "--workers", "1", "--out", "reference")
            Deaths.calm = pictures(self.path("reference"))
        return Deaths.calm

    def check_complete(self, endpoint, job):
        self.litho("watch", job, "--connect", endpoint)
        status = self.status(endpoint, job)
        self.assertEqual((status["state"], status["done"], status["failed"]), ("done", 8, 0))
        lines = index_lines(self.path("out", "long", "index.jsonl"))
        self.assertEqual(sorted(line["index"] for line in lines), list(range(8)))
        self.assertEqual(pictures(self.path("out")), self.reference())

    def running(self, endpoint, job, worker):
        """A task that this worker is in the steps of."""
        return [task for task in self.status(endpoint, job)["running_tasks"]
                if task["worker"] == worker and task["step"] > 0]

    def test_worker_killed_in_mid_task_loses_nothing(self):
        coordinator = self.coordinator()
        victim = self.worker(coordinator.endpoint, "victim")
        job = self.submit(coordinator.endpoint)
        wait_until(lambda: self.running(coordinator.endpoint, job, "victim"),
                   "the victim is in a task's steps")
        victim.signal(SIGSTOP)  # so that it is in mid-task when it dies
        victim.signal(SIGKILL)
        victim.wait()
        heir = self.worker(coordinator.endpoint, "heir")
        self.check_complete(coordinator.endpoint, job)
        lines = index_lines(self.path("out", "long", "index.jsonl"))
        self.assertGreaterEqual(max(line["attempt"] for line in lines), 2)
        self.assertEqual(heir.stop(), 0, heir.text())
        self.assertEqual(coordinator.stop(), 0, coordinator.text())

    def test_coordinator_killed_and_restarted_goes_on(self):
        coordinator = self.coordinator()
        workers = [self.worker(coordinator.endpoint, name) for name in ("one", "two")]
        job = self.submit(coordinator.endpoint)
        wait_until(lambda: 1 <= self.status(coordinator.endpoint, job)["done"], "a first picture")
        coordinator.kill()
        coordinator = self.coordinator()
        self.check_complete(coordinator.endpoint, job)
        for program in workers + [coordinator]:
            self.assertEqual(program.stop(), 0, program.text())

    def test_workers_may_come_before_the_coordinator_and_jobs(self):
        worker = self.worker("ipc://" + self.path("socket"), "early")
        coordinator = self.coordinator()
        wait_until(lambda: self.litho_json("workers", "--connect", coordinator.endpoint),
                   "the worker joins")
        self.check_complete(coordinator.endpoint, self.submit(coordinator.endpoint))
        self.assertEqual(worker.stop(), 0, worker.text())


if __name__ == "__main__":
    main()
