#!/usr/bin/python3
"""A full or read-only disk: everything waits, says why, loses nothing, and goes on with room."""
import os
import subprocess
import sys
import tempfile

from programs import SMALL, Case, Program, index_lines, main, pictures, wait_until

MANY = """\
litho: 1
job: many
model: sticker-128
defaults: {size: 64x64, steps: 1, sampler: euler, cfg_scale: 1}
prompt: a fox
axes: {seed: 1-12}
output: {path: "{job}/{seed}.png"}
"""


def mount(*args):
    return subprocess.run(["mount", *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def mounts_permitted():
    with tempfile.TemporaryDirectory() as folder:
        if not mount("-t", "tmpfs", "-o", "size=16k", "tmpfs", folder):
            return False
        subprocess.run(["umount", folder], check=True)
        return True


class Disk(Case):
    def setUp(self):
        super().setUp()
        self.disk = self.path("disk")
        os.mkdir(self.disk)
        self.assertTrue(mount("-t", "tmpfs", "-o", "size=8M", "tmpfs", self.disk))

    def tearDown(self):
        for program in self.programs:
            if program.process.poll() is None:
                program.kill()
        subprocess.run(["umount", "--lazy", self.disk], check=True)
        super().tearDown()

    def fill(self, spare=0):
        """Takes all room but `spare` bytes."""
        with open(os.path.join(self.disk, "ballast"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
            file.truncate(max(0, file.tell() - spare))

    def make_room(self):
        os.unlink(os.path.join(self.disk, "ballast"))

    def remount(self, how):
        self.assertTrue(mount("-o", "remount," + how, self.disk))

    def calm(self, job):
        self.litho("run", job, "--out", "calm")
        return pictures(self.path("calm"))

    def check_whole(self, job, name, out, tasks):
        calm = self.calm(job)
        self.assertEqual(pictures(out), calm)
        lines = index_lines(os.path.join(out, name, "index.jsonl"))
        self.assertEqual(sorted(line["index"] for line in lines), list(range(tasks)))

    def reason(self, endpoint, name):
        """What `status` says the job waits for, or None."""
        for failure in self.status(endpoint, name)["failures"]:
            if failure["attempts"] == 0 and failure["code"] == "io":
                return failure["text"]
        return None

    def wait_for_room(self, hinder, help_, expected):
        job = self.write("small.yaml", SMALL)
        coordinator = self.coordinator(out="disk/out")
        self.litho("submit", job, "--connect", coordinator.endpoint)
        hinder()
        worker = self.worker(coordinator.endpoint, "only")
        reason = wait_until(lambda: self.reason(coordinator.endpoint, "small"), "the reason")
        self.assertIn(expected, reason)
        self.assertRegex(self.litho("status", "small", "--connect", coordinator.endpoint).stdout,
                         r"waits +.*" + expected)
        status = self.status(coordinator.endpoint, "small")
        self.assertEqual((status["state"], status["failed"]), ("waiting", 0))
        help_()
        self.litho("watch", "small", "--connect", coordinator.endpoint)
        self.check_whole(job, "small", os.path.join(self.disk, "out"), 6)
        self.assertEqual(worker.stop(), 0, worker.text())
        self.assertEqual(coordinator.stop(), 0, coordinator.text())

    def test_full_output_folder_is_waited_for(self):
        self.wait_for_room(lambda: self.fill(spare=20000), self.make_room,
                           "No space left on device")

    def test_read_only_output_folder_is_waited_for(self):
        self.wait_for_room(lambda: self.remount("ro"), lambda: self.remount("rw"),
                           "Read-only file system")

    def test_sheet_that_finds_no_room_is_drawn_later(self):
        job = self.write("small.yaml", SMALL)
        coordinator = self.coordinator(out="disk/out")
        self.litho("submit", job, "--connect", coordinator.endpoint)
        self.fill(spare=90000)  # the pictures' room, not the sheet's
        self.worker(coordinator.endpoint, "only")
        reason = wait_until(lambda: self.reason(coordinator.endpoint, "small"), "the reason")
        self.assertIn("sheet.png: No space left on device", reason)
        status = self.status(coordinator.endpoint, "small")
        self.assertEqual((status["state"], status["done"]), ("finishing", 6))
        self.make_room()
        self.litho("watch", "small", "--connect", coordinator.endpoint)
        self.check_whole(job, "small", os.path.join(self.disk, "out"), 6)

    def test_full_state_folder_is_told_to_clients_and_waited_for(self):
        job = self.write("many.yaml", MANY)
        coordinator = self.coordinator(state="disk/state")
        self.litho("submit", job, "--connect", coordinator.endpoint)
        watch = Program(self, "litho", "watch", "many", "--connect", coordinator.endpoint)
        wait_until(lambda: "0 of 12 images" in watch.text(), "the watcher sees the job")
        self.fill()
        worker = self.worker(coordinator.endpoint, "only")
        wait_until(lambda: "store_refused" in coordinator.text(), "the store refuses")
        done = self.litho("status", "many", "--connect", coordinator.endpoint, expect=1)
        self.assertIn("disk is full", done.stderr)
        self.assertNotIn("start one", done.stderr)
        wait_until(lambda: "disk is full" in watch.text(), "the watcher is told")
        self.make_room()
        self.assertEqual(watch.wait(), 0, watch.text())
        self.check_whole(job, "many", self.path("out"), 12)
        self.assertEqual(worker.stop(), 0, worker.text())
        self.assertEqual(coordinator.stop(), 0, coordinator.text())

    def test_run_on_a_disk_that_is_too_small_goes_on_with_room(self):
        job = self.write("small.yaml", SMALL)
        self.fill(spare=250000)
        run = Program(self, "litho", "run", job, "--out", os.path.join(self.disk, "out"))
        wait_until(lambda: run.process.poll() is not None or
                   "No space left on device" in run.text() or "disk is full" in run.text(),
                   "the reason")
        self.assertIsNone(run.process.poll(), run.text())
        self.make_room()
        self.assertEqual(run.wait(), 0, run.text())
        self.check_whole(job, "small", os.path.join(self.disk, "out"), 6)

    def test_run_on_a_full_disk_is_an_error(self):
        job = self.write("small.yaml", SMALL)
        self.fill()
        done = self.litho("run", job, "--out", os.path.join(self.disk, "out"), expect=1)
        self.assertRegex(done.stderr, "No space left on device|disk is full")

    def test_run_on_a_read_only_disk_is_an_error(self):
        self.remount("ro")
        done = self.litho("run", self.write("small.yaml", SMALL), "--out",
                          os.path.join(self.disk, "out"), expect=1)
        self.assertIn("Read-only file system", done.stderr)


if __name__ == "__main__":
    if not mounts_permitted():
        print("skipped: mounting a tmpfs is not permitted here")
        sys.exit(77)
    main()
