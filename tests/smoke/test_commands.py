#!/usr/bin/python3
"""The commands that look after jobs and workers, on a standing cluster."""
import os
import signal

from programs import (LONG, SMALL, Case, main, pictures, sha256, wait_until)


class Jobs(Case):
    def submit(self, endpoint, name="small.yaml", text=SMALL, *more):
        return self.litho_json("submit", self.write(name, text), "--connect", endpoint, *more)

    def test_submit_waits_and_gives_the_jobs_exit_code(self):
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "only")
        lines = self.submit(endpoint, "small.yaml", SMALL, "--wait")
        self.assertEqual((lines[-1]["state"], lines[-1]["done"]), ("done", 6))
        bad = self.write("bad.yaml", SMALL.replace("sticker-128", "no-such-model"))
        self.litho("submit", bad, "--wait", "--connect", endpoint, expect=1)

    def test_a_token_makes_a_submit_with_drawn_seeds_the_same_job(self):
        endpoint = self.coordinator().endpoint
        drawn = SMALL.replace(", seed: 5", "")
        one = self.submit(endpoint, "d.yaml", drawn, "--token", "today")[0]
        two = self.submit(endpoint, "d.yaml", drawn, "--token", "today")[0]
        three = self.submit(endpoint, "d.yaml", drawn)[0]
        self.assertEqual((one["job"], two["known"]), (two["job"], True))
        self.assertNotEqual(one["job"], three["job"])

    def test_pause_resume_priority_logs_rm(self):
        endpoint = self.coordinator().endpoint
        self.submit(endpoint, "small.yaml", SMALL, "--priority", "70")
        paused = self.litho_json("pause", "small", "--connect", endpoint)[0]
        self.assertEqual((paused["state"], paused["priority"]), ("paused", 70))
        self.worker(endpoint, "only")
        wait_until(lambda: self.litho_json("workers", "--connect", endpoint), "the worker joins")
        self.assertEqual(self.status(endpoint, "small")["running"], 0)
        self.litho("rm", "small", "--connect", endpoint, expect=1)
        self.litho("resume", "small", "--connect", endpoint)
        self.litho("watch", "small", "--connect", endpoint)
        logs = self.litho_json("logs", "small", "3", "--connect", endpoint)[0]
        self.assertEqual(logs["state"], "done")
        self.assertEqual([(a["attempt"], a["worker"], a["code"]) for a in logs["attempts"]],
                         [(1, "only", "done")])
        self.litho("logs", "small", "three", "--connect", endpoint, expect=2)
        self.assertIn("job 'small' has no task 6",
                      self.litho("logs", "small", "6", "--connect", endpoint, expect=1).stderr)
        self.litho("rm", "small", "--connect", endpoint)
        self.assertEqual(self.litho_json("list", "--connect", endpoint), [])
        self.assertEqual(len(pictures(self.path("out", "small"))), 7)

    def test_retry_renders_failures_again_once_the_cause_is_gone(self):
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "only")
        stranger = self.path("out", "small", "fox-teal.png")
        os.makedirs(os.path.dirname(stranger))
        self.write(stranger, "somebody's")
        self.submit(endpoint)
        done = self.litho("watch", "small", "--connect", endpoint, expect=1)
        self.assertIn("fox-teal.png", done.stderr)
        logs = self.litho_json("logs", "small", "0", "--connect", endpoint)[0]
        self.assertEqual((logs["state"], logs["attempts"][-1]["code"]), ("failed", "bad_input"))
        os.unlink(stranger)
        self.litho("retry", "small", "--failed", "--connect", endpoint)
        self.litho("watch", "small", "--connect", endpoint)
        self.assertEqual(self.status(endpoint, "small")["done"], 6)

    def test_get_brings_what_is_missing_and_fsck_finds_what_is_wrong(self):
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "only")
        self.submit(endpoint, "small.yaml", SMALL, "--wait")
        out, copy = self.path("out"), self.path("copy")
        first = self.litho_json("get", "small", copy, "--connect", endpoint)[0]
        self.assertEqual(first, {"brought": 6, "there": 0, "bad": 0})
        names = sorted(pictures(copy))
        self.assertEqual(len(names), 6)
        self.assertEqual({n: sha256(os.path.join(out, n)) for n in names}, pictures(copy))
        os.unlink(os.path.join(copy, names[2]))
        self.write(os.path.join(copy, names[3]), "other")
        again = self.litho_json("get", "small", copy, "--connect", endpoint, expect=1)[0]
        self.assertEqual(again, {"brought": 1, "there": 4, "bad": 1})
        self.litho("get", "small", copy, "--force", "--connect", endpoint)
        self.assertEqual(sorted(pictures(copy)), names)

        self.assertEqual(self.litho_json("fsck", "small", "--connect", endpoint),
                         [{"files": 6, "bad": 0}])
        with open(os.path.join(out, names[0]), "r+b") as file:
            file.seek(100)
            file.write(b"torn")
        os.unlink(os.path.join(out, names[1]))
        found = self.litho_json("fsck", "small", "--connect", endpoint, expect=1)
        self.assertEqual({line["path"] for line in found[:-1]}, set(names[:2]))
        self.assertEqual(found[-1], {"files": 6, "bad": 2})
        self.litho("retry", "small", "--connect", endpoint)
        self.litho("watch", "small", "--connect", endpoint)
        self.assertTrue(os.path.exists(os.path.join(out, names[1])))

    def test_a_changed_manifest_renders_only_what_changed(self):
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "only")
        self.submit(endpoint, "small.yaml", SMALL, "--wait")
        before = pictures(self.path("out", "small"))
        changed = SMALL.replace("grounds", "ground").replace("[fox, pizza, owl]",
                                                             "[fox, pizza, owl]")
        changed = changed.replace("steps: 2", "steps: 2, cfg_scale: 6")
        self.submit(endpoint, "small.yaml", changed, "--wait")
        self.assertEqual(pictures(self.path("out", "small")), before)
        after = pictures(self.path("out", "small-2"))
        self.assertEqual(set(before), set(after))
        self.assertFalse(set(before.values()) & set(after.values()))
        # The same pictures under another priority: all are there.
        third = self.submit(endpoint, "small.yaml", changed + "priority: 60\n", "--wait")
        self.assertEqual((third[-1]["state"], third[-1]["done"]), ("done", 6))
        self.assertEqual({name: one for name, one in after.items() if "sheet" not in name},
                         {name: one for name, one in pictures(self.path("out", "small-3")).items()
                          if "sheet" not in name})
        workers = self.litho_json("workers", "--connect", endpoint)
        self.assertEqual(workers[0]["done"], 12)

    def test_force_renders_again_what_is_there(self):
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "only")
        self.submit(endpoint, "small.yaml", SMALL, "--wait")
        before = pictures(self.path("out", "small"))
        self.submit(endpoint, "small.yaml", SMALL, "--force", "--wait")
        self.assertEqual(pictures(self.path("out", "small")), before)
        self.assertEqual(self.litho_json("workers", "--connect", endpoint)[0]["done"], 12)

    def test_a_model_that_nobody_has_fails_at_once_and_is_told_once(self):
        endpoint = self.coordinator().endpoint
        for name in ("one", "two"):
            self.worker(endpoint, name)
        many = (SMALL.replace("sticker-128", "sticker-182").replace(", seed: 5", "").replace("axes:", "axes:\n  seed: 1-100")
                .replace("{ground}.png", "{ground}-{seed}.png").replace(", sheet: {x: ground, y: thing}", ""))
        self.litho("submit", self.write("many.yaml", many), "--wait", "--connect", endpoint, expect=1)
        status = self.litho_json("status", "small", "--connect", endpoint)[0]
        self.assertEqual((status["state"], status["failed"]), ("failed", status["tasks"]))
        self.assertEqual([f["tasks"] for f in status["failures"]], [status["tasks"]])
        self.assertRegex(status["failures"][0]["text"], "did you mean 'sticker-128'.*no connected worker has it either.*--models")
        text = self.litho("status", "small", "--connect", endpoint).stdout
        self.assertEqual(text.count("sticker-182' is not in the model library"), 1)
        workers = self.litho_json("workers", "--connect", endpoint)
        self.assertLess(sum(w["failed"] for w in workers), 20)
        self.assertEqual([w["blocked"] for w in workers], [[], []])

    def test_max_failed_stops_the_job(self):
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "only")
        text = LONG.replace("sticker-128", "no-such-model").replace("1-8", "1-500") + "max_failed: 2\n"
        lines = self.litho_json("submit", self.write("long.yaml", text), "--wait", "--connect",
                                endpoint, expect=1)
        self.assertEqual(lines[-1]["state"], "failed")
        self.assertIn("max_failed", lines[-1]["reason"])
        self.assertGreater(lines[-1]["pending"], 0)


# Batches are quick; what is interrupted must not be over before.
SLOW = LONG.replace("steps: 30", "steps: 150")
SHORT = SLOW.replace("seed: 1-8", "seed: 1-3")


class Workers(Case):
    def test_a_drained_worker_finishes_and_leaves_another_goes_on(self):
        endpoint = self.coordinator().endpoint
        leaving = self.worker(endpoint, "leaving")
        self.litho("submit", self.write("long.yaml", SHORT), "--connect", endpoint)
        wait_until(lambda: self.status(endpoint, "long")["running"], "it works")
        shown = self.litho_json("drain", "leaving", "--connect", endpoint)[0]
        self.assertEqual(shown["state"], "leaving")
        self.assertEqual(leaving.wait(), 0, leaving.text())
        self.worker(endpoint, "other")
        self.litho("watch", "long", "--connect", endpoint)
        self.litho("drain", "nobody", "--connect", endpoint, expect=1)

    def test_time_limit_and_sigterm_hand_back_and_leave_cleanly(self):
        endpoint = self.coordinator().endpoint
        from programs import Program
        timed = Program(self, "litho-worker", "--connect", endpoint, "--name", "timed",
                        "--threads", "1", "--time-limit", "1s")
        self.litho("submit", self.write("long.yaml", SLOW), "--connect", endpoint)
        self.assertEqual(timed.wait(), 0, timed.text())
        stopped = self.worker(endpoint, "stopped")
        wait_until(lambda: self.status(endpoint, "long")["running"], "it works")
        stopped.signal(signal.SIGTERM)
        self.assertEqual(stopped.wait(), 0, stopped.text())
        self.worker(endpoint, "other")
        self.litho("watch", "long", "--connect", endpoint)
        self.assertEqual(self.status(endpoint, "long")["failed"], 0)


if __name__ == "__main__":
    main()
