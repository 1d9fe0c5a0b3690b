#!/usr/bin/python3
"""Strikes real processes, links and disks while a job renders; then compares every byte with a calm
run.

    tests/chaos/chaos.py                 12 blows, as CTest runs it
    tests/chaos/chaos.py --blows 1000 --kills --seed 7 --workers 3 --seeds 60 --frames 4

A blow, by the dice:
    kill    SIGKILL of a worker or the coordinator, which is started again at once
    all     SIGKILL of everything at once
    stop    SIGSTOP of one of them, SIGCONT after more has happened, or once it was missed
    term    SIGTERM, the exit code 0 awaited, started again
    tear    a worker's connection is reset in the middle of what it carries
    freeze  a worker's connection carries nothing, or nothing in one direction, for a while
    dark    the network goes away under all of them (where network namespaces are permitted)
    full    the disk of pictures and state has no room left (where a tmpfs may be mounted)
    slow    the coordinator's disk does a few writes a second (where blkio may be throttled)

Nothing sleeps: a blow falls after a number, by the dice, of lines in the logs (steps, results,
leases, losses; heartbeats do not count). Rounds of jobs follow each other until all blows are dealt.
At the end of each round every task has exactly one picture with the bytes of the calm run and one
line in index.jsonl, no worker holds a lease, no temporary file is left, and `litho fsck` finds
nothing. A task whose three workers were killed over it is quarantined, by name: that is promised
too, and `litho retry --failed` renders it, and the frames that start from it.
"""
import argparse
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smoke"))
from ground import Ground, enter  # noqa: E402
from link import DOWN, UP, Link  # noqa: E402
from programs import Case, Program, index_lines, pictures, wait_until  # noqa: E402

MANIFEST = """\
litho: 1
job: chaos
model: sticker-128
defaults: {size: 64x64, steps: %d, sampler: euler_a, cfg_scale: 3}
prompt: a ${thing} on a teal background
axes: {thing: [fox, owl, pizza], seed: 1-%d}
frames: %d
output: {path: "{job}/{thing}-{seed}-{frame}.png"}
"""
TIMES = ("--heartbeat", "300", "--silence", "2000", "--grace", "2000")
LINES_MAX = 40  # between two blows
SLOW_WRITES = 12  # a second
ASK_AFTER = 3  # seconds without a line: perhaps the job is over
QUIET_MAX = 60  # seconds without a line, or without the one that is awaited: a stall
COORDINATOR = "coordinator"
MISSED = ("why=silent", "the coordinator is silent", "no answer to hello")


class Chaos(Case):
    options = None

    # --- programs ---

    def start(self, name):
        if name == COORDINATOR:
            server = self.coordinator(self.state, self.out, "tcp://127.0.0.1:0", *TIMES)
            self.ground.put_in(server.process.pid)
            self.endpoint = server.endpoint
            for link in self.links.values():
                link.port = int(self.endpoint.rsplit(":", 1)[1])
            self.running[name] = server
        else:
            self.running[name] = Program(self, "litho-worker", "--connect",
                                         self.links[name].endpoint, "--name", name, "--threads",
                                         "1", "--log-level", "debug")
        self.seen[self.running[name]] = 0

    def kill(self, *names):
        for name in names:
            self.running[name].kill()
        for name in names:
            self.start(name)

    # --- what happens ---

    def news(self):
        """Lines that were logged since the last look, heartbeats left out."""
        fresh = []
        for program in self.running.values():
            with open(program.log, encoding="utf-8", errors="replace") as file:
                file.seek(self.seen[program])
                text = file.read()
            whole = text.rfind("\n") + 1
            self.seen[program] += len(text[:whole].encode("utf-8"))
            fresh += [line for line in text[:whole].splitlines()
                      if "type=ping" not in line and "type=pong" not in line]
        if fresh:
            self.heard = time.monotonic()
        return fresh

    def is_over(self):
        """Every task has its line; or nothing is heard, and the coordinator says so (a quarantined
        task has no line)."""
        try:
            with open(self.path(self.out, "chaos", "index.jsonl"), "rb") as file:
                if file.read().count(b"\n") >= self.tasks:
                    return True
        except OSError:
            pass
        if self.unanswering or time.monotonic() - self.heard < ASK_AFTER:
            return False
        self.heard = time.monotonic()
        return self.state_told() in ("done", "failed")

    def state_told(self):
        """What the coordinator says of the job; "waiting" also where its own disk is full, or was and is not tried
        again yet."""
        try:
            return self.status(self.endpoint, "chaos")["state"]
        except AssertionError as refusal:
            if self.on_small_disk and "until its disk takes writes" in str(refusal):
                return "waiting"
            raise

    def await_lines(self, count, *words):
        """Until so many lines were logged, or one with one of the words, or the job is over."""
        lines = []

        def enough():
            lines.extend(self.news())
            return len(lines) >= count or self.is_over() or any(
                word in line for word in words for line in lines)
        self.wait(enough, "%d lines, or %s" % (count, words))

    def wait(self, condition, what):
        """Whoever gives up tells what all programs said last, and who of them is gone."""
        try:
            wait_until(condition, what, QUIET_MAX)
        except AssertionError as stall:
            raise AssertionError("%s\n%s" % (stall, "\n".join(
                "%s (exit code %s):\n%s" % (name, program.process.poll(),
                                            "\n".join(program.text().splitlines()[-20:]))
                for name, program in self.running.items()))) from stall

    # --- blows ---

    def blow_kill(self):
        self.kill(self.any_program())

    def blow_all(self):
        self.kill(*self.running)

    def blow_term(self):
        name = self.any_program()
        program = self.running[name]
        wait_until(program.text, "a first line: from then on signals are handled")
        self.assertEqual(program.stop(), 0, program.text())
        self.start(name)

    def blow_stop(self):
        name = self.any_program()
        program = self.running[name]
        program.signal(signal.SIGSTOP)
        self.unanswering = name == COORDINATOR
        try:
            self.await_lines(*self.a_while(*MISSED))
        finally:
            program.signal(signal.SIGCONT)
            self.unanswering = False

    def blow_tear(self):
        link = self.links[self.any_worker()]
        link.tear(self.dice.randrange(4000))
        wait_until(lambda: link.is_torn() or self.is_over(), "the link is torn")
        link.reset_all()

    def blow_freeze(self):
        link = self.links[self.any_worker()]
        link.freeze(*self.dice.choice(((UP, DOWN), (UP,), (DOWN,))))
        try:
            self.await_lines(*self.a_while(*MISSED))
        finally:
            link.thaw()

    def blow_dark(self):
        self.assertTrue(self.ground.light(False))
        self.unanswering = True
        try:
            self.await_lines(*self.a_while(*MISSED))
        finally:
            self.assertTrue(self.ground.light(True))
            self.unanswering = False

    def blow_full(self):
        self.ground.fill()
        try:
            self.await_refusal()
            if self.dice.random() < 0.5:
                self.kill(self.any_worker())
        finally:
            self.ground.make_room()

    def await_refusal(self):
        """Its log says so once; one that waited before is asked."""
        def refused():
            return any("job_waits" in line or "store_refused" in line for line in self.news()) or (
                time.monotonic() - self.heard >= ASK_AFTER and
                self.state_told() in ("waiting", "done", "failed"))
        self.wait(refused, "the full disk is noticed")

    def blow_slow(self):
        self.ground.slow(SLOW_WRITES)
        try:
            self.await_lines(*self.a_while())
            if self.dice.random() < 0.5:
                self.kill(self.any_program())
        finally:
            self.ground.slow(0)

    def any_worker(self):
        return self.dice.choice(sorted(self.links))

    def any_program(self):
        return self.dice.choice([COORDINATOR, *sorted(self.links)])

    def a_while(self, *missed):
        """A few lines; or many, so that the blow is noticed first."""
        if missed and self.dice.random() < 0.3:
            return (10000, *missed)
        return (self.dice.randrange(1, LINES_MAX),)

    def strike(self):
        blows = ["kill"] * 5 + ["all"]
        if not self.options.kills:
            blows += ["stop", "stop", "term", "term", "tear", "tear", "freeze", "freeze"]
            blows += ["dark", "dark"] * self.ground.own_network
            blows += ["full", "full"] * self.on_small_disk
            blows += ["slow", "slow"] * (self.ground.slow_disk and not self.on_small_disk)
        blow = self.dice.choice(blows)
        self.blows += 1
        self.dealt[blow] = self.dealt.get(blow, 0) + 1
        if self.options.verbose:
            print("%7.2f s: %d %s" % (time.monotonic() - self.begun, self.blows, blow), flush=True)
        getattr(self, "blow_" + blow)()

    # --- rounds ---

    def one_round(self, number):
        self.on_small_disk = self.ground.small_disk and number % 2 == 0
        if self.on_small_disk:
            self.ground.mount()
        folder = "disk" if self.on_small_disk else "round-%d" % number
        self.out, self.state = os.path.join(folder, "out"), os.path.join(folder, "state")
        self.running, self.seen, self.unanswering = {}, {}, False
        self.heard = time.monotonic()
        self.links = {"w%d" % k: Link() for k in range(self.options.workers)}
        for name in (COORDINATOR, *self.links):
            self.start(name)
        self.litho("submit", self.job, "--connect", self.endpoint)
        while self.blows < self.options.blows and not self.is_over():
            self.await_lines(self.dice.randrange(1, LINES_MAX))
            if not self.is_over():
                self.strike()
        self.check()
        for program in self.running.values():
            program.kill()
        for link in self.links.values():
            link.close()
        if self.on_small_disk:
            self.ground.unmount()

    def ended(self):
        status = self.status(self.endpoint, "chaos")
        if status["state"] == "failed":
            for failure in status["failures"]:
                self.assertRegex(failure["code"] + ": " + failure["text"],
                                 "^worker_lost: |^asset_missing: the chain broke", status)
            self.quarantined += status["failed"]
            self.litho("retry", "chaos", "--failed", "--connect", self.endpoint)
            return None
        return status if status["state"] == "done" else None

    def check(self):
        status = wait_until(self.ended, "the job's end")
        self.assertEqual((status["failed"], status["done"]), (0, self.tasks), status)
        self.assertEqual(pictures(self.path(self.out)), self.calm, "bytes differ from the calm run")
        lines = index_lines(os.path.join(status["folder"], "index.jsonl"))
        self.assertEqual(sorted(line["index"] for line in lines), list(range(self.tasks)))
        self.litho("fsck", "chaos", "--connect", self.endpoint)
        left = [name for _, _, files in os.walk(self.path(self.out)) for name in files
                if name.endswith(".part")]
        self.assertEqual(left, [])
        wait_until(lambda: not any(row["running_tasks"] for row in self.litho_json(
            "workers", "--connect", self.endpoint)), "no worker holds a lease")

    def test_blows_change_no_byte(self):
        o = self.options
        self.dice = random.Random(o.seed)
        self.ground = Ground(self.folder)
        self.addCleanup(self.ground.leave)
        self.addCleanup(self.ground.unmount)
        self.blows, self.dealt, self.quarantined, rounds = 0, {}, 0, 0
        self.tasks = 3 * o.seeds * o.frames
        self.job = self.write("chaos.yaml", MANIFEST % (o.steps, o.seeds, o.frames))
        self.litho("run", self.job, "--out", self.path("calm"), "--threads", "1")
        self.calm = pictures(self.path("calm"))
        self.assertEqual(len([n for n in self.calm if "sheet" not in n]), self.tasks)
        print(self.ground, flush=True)
        self.begun = time.monotonic()
        while self.blows < o.blows:
            self.one_round(rounds)
            rounds += 1
        print("%d blows %s in %d rounds of %d pictures, %d quarantined and retried, seed %d, "
              "%.0f s: all bytes equal" % (self.blows, self.dealt, rounds, self.tasks,
                                           self.quarantined, o.seed,
                                           time.monotonic() - self.begun))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--blows", type=int, default=12)
    parser.add_argument("--kills", action="store_true", help="SIGKILL alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=4, help="chains of each of three things")
    parser.add_argument("--frames", type=int, default=2, help="of each chain; 1: there are none")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--verbose", action="store_true")
    Chaos.options = parser.parse_args()
    enter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # and tidies up
    import unittest
    result = unittest.TextTestRunner(verbosity=2).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(Chaos))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
