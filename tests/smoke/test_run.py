#!/usr/bin/python3
"""`litho run`: complete, resumable, interruptible, and honest about what is missing."""
import os
import subprocess

from programs import (BIN, DEADLINE, LONG, SIGINT, SIGKILL, SMALL, Case, Program, children,
                      environment, index_lines, main, pictures, wait_until)


class Run(Case):
    def test_run_is_complete_and_resumable(self):
        job = self.write("small.yaml", SMALL)
        first = self.litho("run", job)
        self.assertIn("6 images", first.stdout)
        found = pictures(self.path("out"))
        self.assertEqual(sorted(found), sorted(
            ["small/%s-%s.png" % (thing, ground) for thing in ("fox", "pizza", "owl")
             for ground in ("teal", "pink")] + ["small/sheet.png"]))
        lines = index_lines(self.path("out", "small", "index.jsonl"))
        self.assertEqual(sorted(line["index"] for line in lines), list(range(6)))

        again = self.litho("run", job)
        self.assertIn("nothing to do: 6 images are there", again.stdout)
        self.assertEqual(pictures(self.path("out")), found)

    def test_removed_picture_alone_is_rendered_again(self):
        job = self.write("small.yaml", SMALL)
        self.litho("run", job, "--quiet")
        found = pictures(self.path("out"))
        os.unlink(self.path("out", "small", "owl-pink.png"))
        final = self.litho_json("run", job)[-1]
        self.assertEqual(final["rendered"], 1)
        self.assertEqual(pictures(self.path("out")), found)
        self.assertEqual(len(index_lines(self.path("out", "small", "index.jsonl"))), 6)

    def test_drawn_seeds_stay_the_same_in_the_next_run(self):
        job = self.write("small.yaml", SMALL.replace(", seed: 5", ""))
        self.litho("run", job)
        found = pictures(self.path("out"))
        self.assertIn("nothing to do", self.litho("run", job).stdout)
        self.litho("run", job, "--out", "other")
        self.assertNotEqual(pictures(self.path("other")), found)

    def test_json_ends_with_the_settled_job(self):
        job = self.write("small.yaml", SMALL)
        lines = self.litho_json("run", job, "--set", "axes.thing=[fox]")
        final = lines[-1]
        self.assertEqual(final["state"], "done")
        self.assertEqual((final["tasks"], final["done"], final["failed"]), (2, 2, 0))
        self.assertEqual(final["rendered"], 2)
        self.assertTrue(os.path.isfile(final["index"]))
        self.assertTrue(os.path.isfile(final["sheet"]))
        self.assertEqual(final["failures"], [])
        self.assertGreater(final["seconds"], 0)

    def test_missing_model_is_told_before_anything_is_tried(self):
        job = self.write("small.yaml", SMALL.replace("sticker-128", "no-such-model"))
        done = self.litho("run", job, expect=1)
        self.assertIn("no-such-model", done.stderr)
        self.assertIn("no-such-model/model_index.json in ", done.stderr)
        self.assertIn("--models DIR", done.stderr)

    def test_failed_tasks_are_tried_again_by_the_same_command(self):
        job = self.write("small.yaml", SMALL)
        os.makedirs(self.path("library", "sticker-128"))
        self.write("library/sticker-128/model_index.json", "{}")
        self.litho("run", job, "--models", self.path("library"), expect=1)
        self.litho("run", job)
        self.assertEqual(len(pictures(self.path("out", "small"))), 7)

    def test_file_of_another_is_never_overwritten(self):
        job = self.write("small.yaml", SMALL)
        os.makedirs(self.path("out", "small"))
        self.write("out/small/fox-teal.png", "mine")
        done = self.litho("run", job, expect=1)
        self.assertIn("fox-teal.png", done.stderr)
        self.assertIn("bad_input", done.stderr)
        with open(self.path("out", "small", "fox-teal.png"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "mine")
        self.assertEqual(len(pictures(self.path("out", "small"))), 7)

    def test_unwritable_output_folder_is_an_error(self):
        job = self.write("small.yaml", SMALL)
        self.write("file", "")
        done = self.litho("run", job, "--out", self.path("file", "out"), expect=1)
        self.assertIn("output folder", done.stderr)
        self.assertIn("Not a directory", done.stderr)

    def test_wrong_worker_count_is_wrong_usage(self):
        job = self.write("small.yaml", SMALL)
        for count in ("0", "-1", "x", "65"):
            self.assertIn("--workers", self.litho("run", job, "--workers", count, expect=2).stderr)

    def test_no_children_remain_and_no_temporary_folder(self):
        job = self.write("small.yaml", SMALL)
        os.mkdir(self.path("tmp"))
        self.litho("run", job, "--set", "axes.thing=[fox]", TMPDIR=self.path("tmp"))
        self.assertEqual(os.listdir(self.path("tmp")), [])


class Interrupted(Case):
    def start_long(self):
        self.job = self.write("long.yaml", LONG)
        program = Program(self, "litho", "run", self.job, TMPDIR=self.folder)
        wait_until(lambda: program.process.poll() is not None or
                   len(pictures(self.path("out"))) >= 1, "the first picture")
        self.assertIsNone(program.process.poll(), program.text())
        return program

    calm = None  # the pictures of a run that nothing happened to; equal for all tests

    def reference(self):
        if not Interrupted.calm:
            self.litho("run", self.job, "--out", "reference")
            Interrupted.calm = pictures(self.path("reference"))
        return Interrupted.calm

    def test_interrupt_stops_cleanly_and_the_same_command_goes_on(self):
        program = self.start_long()
        kids = children(program.process.pid)
        self.assertIn("litho-coordinator", [name for _, name in kids])
        program.signal(SIGINT)
        self.assertEqual(program.wait(), 130, program.text())
        there = len(pictures(self.path("out")))
        self.assertIn("%d of 8 images %s there; the same command renders the rest"
                      % (there, "is" if there == 1 else "are"), program.text())
        for pid, _ in kids:
            self.assertFalse(os.path.exists("/proc/%d" % pid))
        self.assertLess(there, 9)
        self.assertIn("measured over", self.litho("plan", self.job).stdout)
        done = self.litho("run", self.job)
        self.assertIn("there", done.stdout)
        self.assertEqual(pictures(self.path("out")), self.reference())

    def test_manifest_that_was_stopped_and_changed_is_rendered_alone(self):
        program = self.start_long()
        program.signal(SIGINT)
        self.assertEqual(program.wait(), 130, program.text())
        changed = ("--set", "steps=4")
        final = self.litho_json("run", self.job, *changed)[-1]
        self.assertEqual((final["done"], final["rendered"]), (8, 8))
        self.assertEqual(final["folder"], self.path("out", "long-2"))
        self.litho("run", self.job, *changed, "--out", "reference")
        self.assertEqual({name: hash for name, hash in pictures(final["folder"]).items()
                          if name != "sheet.png"},
                         {name: hash for name, hash in
                          pictures(self.path("reference", "long")).items() if name != "sheet.png"})

    def test_second_run_into_the_same_folder_is_refused_with_the_cure(self):
        program = self.start_long()
        done = self.litho("run", self.job, expect=1)
        self.assertIn("another run is at work in ", done.stderr)
        self.assertIn("--out DIR", done.stderr)
        program.signal(SIGINT)
        self.assertEqual(program.wait(), 130, program.text())

    def test_killed_command_leaves_no_children_and_can_go_on(self):
        program = self.start_long()
        kids = children(program.process.pid)
        program.kill()
        wait_until(lambda: not any(alive(pid) for pid, _ in kids), "the children's end")
        self.litho("run", self.job)
        self.assertEqual(pictures(self.path("out")), self.reference())

    def test_killed_worker_is_started_again(self):
        program = self.start_long()
        worker = [pid for pid, name in children(program.process.pid) if name == "litho-worker"][0]
        os.kill(worker, SIGKILL)
        self.assertEqual(program.wait(), 0, program.text())
        self.assertIn("started again 1 time", program.text())
        self.assertEqual(pictures(self.path("out")), self.reference())

    def test_killed_coordinator_ends_the_run_with_its_log(self):
        program = self.start_long()
        coordinator = [pid for pid, name in children(program.process.pid)
                       if name == "litho-coordinator"][0]
        os.kill(coordinator, SIGKILL)
        self.assertEqual(program.wait(), 1, program.text())
        self.assertIn("the coordinator stopped (killed by signal 9", program.text())
        self.litho("run", self.job)
        self.assertEqual(pictures(self.path("out")), self.reference())


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class CommandLine(Case):
    def test_help_names_every_command_and_each_has_its_own(self):
        overview = self.litho("--help").stdout
        for name in ("plan", "run", "submit", "list", "status", "watch", "cancel", "workers",
                     "replay"):
            self.assertIn("  %s " % name, overview)
            text = self.litho("help", name).stdout
            self.assertIn("litho %s" % name, text)
            self.assertEqual(self.litho(name, "--help").stdout, text)

    def test_misspelt_command_and_option_get_a_suggestion(self):
        self.assertIn("did you mean 'status'?", self.litho("staus", "x", expect=2).stderr)
        self.assertIn("did you mean '--connect'?",
                      self.litho("list", "--conect", "x", expect=2).stderr)

    def test_answer_that_could_not_be_written_is_no_success(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([os.path.join(BIN, "litho"), "--version"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False,
                                  env=environment())
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output", done.stderr)

    def test_option_without_a_command_and_a_replay_of_no_picture_are_named(self):
        self.assertIn("unknown option '--quiet'", self.litho("--quiet", expect=2).stderr)
        path = self.write("small.yaml", SMALL)
        self.assertIn("small.yaml: not a PNG file", self.litho("replay", path, expect=1).stderr)

    def test_no_command_is_wrong_usage(self):
        self.assertIn("usage:", self.litho(expect=2).stderr)
        self.assertIn("usage: litho run JOB.yaml", self.litho("run", expect=2).stderr)

    def test_version_is_told(self):
        self.assertRegex(self.litho("--version").stdout, r"^litho \d+\.\d+\.\d+ ")

    def test_no_escape_sequences_without_a_terminal(self):
        self.assertNotIn("\x1b", self.litho("--help").stdout)

    def test_no_coordinator_is_named_with_the_cure(self):
        endpoint = "ipc://" + self.path("nobody")
        for program in [Program(self, "litho", *args, LITHO_CONNECT=endpoint)
                        for args in (["list"], ["watch", "abcd"])]:
            self.assertEqual(program.wait(), 1, program.text())
            self.assertIn(endpoint, program.text())
            self.assertIn("litho-coordinator --listen", program.text())

    def test_coordinator_must_be_named(self):
        self.assertIn("LITHO_CONNECT", self.litho("list", expect=2).stderr)

    def test_terminal_sees_a_bar_and_colours_and_no_color_is_honoured(self):
        job = self.write("small.yaml", SMALL)
        for changes, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
            command = "%s run %s --out %s" % (os.path.join(BIN, "litho"), job,
                                              self.path("tty%d" % colours))
            done = subprocess.run(["script", "-qec", command, "/dev/null"], cwd=self.folder,
                                  env=environment(TERM="xterm", LANG="C.UTF-8", **changes),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  timeout=DEADLINE)
            text = done.stdout.decode("utf-8")
            self.assertEqual(done.returncode, 0, text)
            self.assertIn("/6 images", text)
            self.assertIn("▕", text)
            self.assertEqual("\x1b[3" in text, colours)


if __name__ == "__main__":
    main()
