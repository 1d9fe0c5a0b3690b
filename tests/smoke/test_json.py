#!/usr/bin/python3
"""--json of every command: each line is a document, and its keys are those of jobs/cli/README.md."""
import json
import os
import re
import subprocess

from programs import BIN, LONG, SMALL, SOURCE, Case, environment, main, pictures, wait_until

SUMMARY = {"job", "name", "state", "tasks", "pending", "running", "done", "failed",
           "submitted_ms", "finished_ms", "rate", "eta_seconds", "folder", "sheet", "priority",
           "reason"}
JOB = SUMMARY | {"gang", "running_tasks", "failures"}
PLAN = {"name", "job", "tasks", "excluded", "rendered", "axes", "models", "first", "last",
        "seeds_drawn", "memory", "missing", "bytes", "seconds"}
WORKER = {"name", "device", "device_class", "software", "state", "done", "failed", "connected_ms",
          "silent_ms", "running_tasks", "blocked"}
MISTAKE = {"text", "file", "line", "column", "warning"}
FAILURE = {"code", "error"}


def commands_with_json():
    """The commands whose help lists --json."""
    def help_of(*args):
        return subprocess.run([os.path.join(BIN, "litho"), *args, "--help"], env=environment(),
                              stdout=subprocess.PIPE, text=True, check=True).stdout
    names = re.findall(r"^  ([a-z]+) ", help_of(), re.M)
    return {name for name in names if "--json" in help_of(name)}


class Json(Case):
    tried = set()

    def lines(self, keys, command, *args, expect=0):
        """The documents of a command, each with exactly these keys, and canonical."""
        text = self.litho(command, *args, "--json", expect=expect).stdout
        found = [json.loads(line) for line in text.splitlines()]
        for document in found:
            self.assertEqual(set(document), keys, "litho %s" % command)
        self.assertTrue(text == "" or text.endswith("\n"))
        Json.tried.add(command)
        return found

    def test_1_on_this_machine(self):
        path = self.write("small.yaml", SMALL)
        plan = self.lines(PLAN, "plan", path)[0]
        self.assertEqual((plan["bytes"], plan["seconds"]), (None, None))
        self.assertEqual(set(plan["first"]), {"index", "path", "task"})
        self.assertEqual([set(a) for a in plan["axes"]], [{"name", "length", "first_values"}] * 2)
        self.assertEqual([set(m) for m in plan["models"]], [{"model", "folder"}])
        self.assertEqual([set(m) for m in plan["memory"]],
                         [{"model", "width", "height", "weights", "render", "total"}])
        self.lines(PLAN | {"frames"}, "plan", path, "--set", "frames=2", "--set",
                   'output.path="{index}.png"')
        lines = [json.loads(line) for line in
                 self.litho("run", path, "--json").stdout.splitlines()]
        self.assertEqual(set(lines[-1]), JOB | {"rendered", "restarts", "seconds", "index"})
        for line in lines[:-1]:
            self.assertEqual(set(line), JOB)
        Json.tried.add("run")
        picture = self.path("out", "small", "fox-teal.png")
        replayed = self.lines({"image", "written", "record_differs", "equal", "max_difference",
                               "psnr_db"}, "replay", picture, "--verify")[0]
        self.assertEqual((replayed["equal"], replayed["psnr_db"]), (True, None))
        self.lines({"image", "written", "record_differs"}, "replay", picture)

    def test_2_with_a_coordinator(self):
        at = ("--connect", self.coordinator().endpoint)
        path = self.write("small.yaml", SMALL)
        submitted = {"job", "name", "tasks", "known"}
        self.assertEqual(self.lines(set(), "list", *at), [])
        self.assertEqual(self.lines(WORKER, "workers", *at), [])
        self.assertFalse(self.lines(submitted, "submit", path, *at)[0]["known"])
        self.assertTrue(self.lines(submitted, "submit", path, *at)[0]["known"])
        for command, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
            self.assertEqual(self.lines(JOB, command, "small", *at)[0]["state"], state)
        self.lines(submitted, "submit", path, *at)
        worker = self.worker(at[1], "only")
        self.assertEqual(self.lines(JOB, "watch", "small", *at)[-1]["state"], "done")
        self.assertEqual(self.lines(SUMMARY, "list", *at)[0]["done"], 6)
        self.lines(JOB, "status", "small", *at)
        log = self.lines({"index", "state", "attempts"}, "logs", "small", "0", *at)[0]
        self.assertEqual(set(log["attempts"][0]),
                         {"attempt", "worker", "code", "text", "started_ms", "ended_ms"})
        self.assertEqual(self.lines(WORKER, "workers", *at)[0]["name"], "only")
        self.lines({"brought", "there", "bad"}, "get", "small", self.path("copy"), *at)
        self.assertEqual(len(pictures(self.path("copy"))), 6)
        self.lines({"files", "bad"}, "fsck", "small", *at)
        os.unlink(self.path("out", "small", "fox-teal.png"))
        wrong = [json.loads(line) for line in
                 self.litho("fsck", "small", "--json", *at, expect=1).stdout.splitlines()]
        self.assertEqual([set(line) for line in wrong], [{"index", "path", "text"},
                                                         {"files", "bad"}])
        self.lines(JOB, "retry", "small", *at)
        self.lines(JOB, "watch", "small", *at)
        self.assertEqual(set(self.litho_json("submit", path, "--wait", *at)[-1]), JOB)
        self.lines(JOB, "rm", "small", *at)
        self.lines(WORKER, "drain", "only", *at)
        self.assertEqual(worker.wait(), 0)

    def test_3_a_failure_is_a_document_too(self):
        at = ("--connect", self.coordinator().endpoint)
        path = self.write("small.yaml", SMALL)
        for command in ("status", "watch", "cancel", "pause", "resume", "retry", "fsck", "rm"):
            failed = self.lines(FAILURE, command, "nobody", *at, expect=1)
            self.assertEqual([f["code"] for f in failed], ["asset_missing"], command)
        self.lines(FAILURE, "logs", "nobody", "0", *at, expect=1)
        self.lines(FAILURE, "get", "nobody", self.path("copy"), *at, expect=1)
        self.lines(FAILURE, "drain", "nobody", *at, expect=1)
        for command in ("list", "workers"):
            self.lines(FAILURE, command, "--connect", "nonsense", expect=2)
        self.lines(FAILURE, "submit", path, "--connect", "nonsense", expect=2)
        self.lines(FAILURE, "replay", self.path("none.png"), expect=1)
        self.lines(FAILURE, "run", path, "--model", "no-such-model", expect=1)
        self.lines(FAILURE, "plan", self.path("none.yaml"), expect=2)
        self.write("bad.yaml", SMALL + "stps: 3\n")
        for command in ("plan", "run", "submit"):
            told = self.lines({"mistakes"}, command, self.path("bad.yaml"), expect=2)
            self.assertEqual(set(told[0]["mistakes"][0]), MISTAKE)

    def test_4_the_running_tasks_of_a_job_and_of_a_worker(self):
        at = ("--connect", self.coordinator().endpoint)
        path = self.write("long.yaml", LONG.replace("steps: 30", "steps: 150"))
        self.worker(at[1], "only")
        self.lines({"job", "name", "tasks", "known"}, "submit", path, *at)

        def busy(command, *args):
            return wait_until(lambda: self.lines(WORKER if command == "workers" else JOB, command,
                                                 *args, *at)[0]["running_tasks"], "it works")[0]
        task = {"index", "attempt", "step", "steps", "since_ms", "fetched", "fetch_bytes"}
        self.assertLessEqual(set(busy("status", "long")), task | {"worker"})
        self.assertLessEqual(set(busy("workers")), task | {"job"})

    def test_5_every_command_was_tried_and_every_key_is_documented(self):
        self.assertEqual(Json.tried, commands_with_json())
        with open(os.path.join(SOURCE, "jobs", "cli", "README.md"), encoding="utf-8") as file:
            documented = set(re.findall(r"`([a-z_0-9]+)`", file.read()))
        for keys in (JOB, PLAN, WORKER, MISTAKE, FAILURE):
            self.assertLessEqual(keys, documented)


if __name__ == "__main__":
    main()
