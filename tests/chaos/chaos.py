#!/usr/bin/python3
"""Kills, stops and continues real processes while a job renders; then compares every byte with a
calm run.

    tests/chaos/chaos.py                 12 blows, as CTest runs it
    tests/chaos/chaos.py --blows 1000 --seed 7 --workers 3

A blow is, by chance: SIGKILL of a worker or the coordinator (started again at once), SIGSTOP of one
of them for up to some seconds, then SIGCONT, or SIGTERM of a worker. Rounds of jobs follow each other
until all blows are dealt. At the end of each round every task of it has exactly one picture, whose
bytes are those of the calm run, no temporary file is left, and `litho fsck` finds nothing.
"""
import argparse
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smoke"))
from programs import Case, Program, index_lines, pictures, wait_until  # noqa: E402

MANIFEST = """\
litho: 1
job: chaos
model: sticker-128
defaults: {size: 64x64, steps: %d, sampler: euler_a, cfg_scale: 3}
prompt: a ${thing} on a teal background
axes: {thing: [fox, owl, pizza], seed: 1-%d}
output: {path: "{job}/{thing}-{seed}.png"}
"""


class Chaos(Case):
    options = None

    def start_worker(self, number):
        self.workers[number] = Program(self, "litho-worker", "--connect", self.endpoint, "--name",
                                       "w%d" % number, "--threads", "1")

    def start_coordinator(self):
        self.server = self.coordinator(out=self.out)
        self.endpoint = self.server.endpoint

    def strike(self):
        target = self.dice.randrange(self.options.workers + 1)
        program = self.server if target == self.options.workers else self.workers[target]
        blow = self.dice.choice(("kill", "kill", "stop", "term"))
        name = "coordinator" if program is self.server else "w%d" % target
        if program.process.poll() is not None:  # it left after SIGTERM
            self.start_worker(target)
            return
        self.blows += 1
        self.dealt[blow] = self.dealt.get(blow, 0) + 1
        if self.options.verbose:
            print("%d %s %s" % (self.blows, blow, name), flush=True)
        if blow == "stop":
            program.signal(signal.SIGSTOP)
            time.sleep(self.dice.uniform(0, self.options.pause))
            program.signal(signal.SIGCONT)
        elif blow == "term" and program is not self.server:
            program.signal(signal.SIGTERM)
        else:
            program.kill()
            if program is self.server:
                self.start_coordinator()
            else:
                self.start_worker(target)

    def is_over(self):
        return self.status(self.endpoint, "chaos")["state"] in ("done", "failed")

    def one_round(self, number, job, calm):
        self.out = "out-%d" % number
        self.start_coordinator()
        self.workers = {}
        for worker in range(self.options.workers):
            self.start_worker(worker)
        self.litho("submit", job, "--connect", self.endpoint)
        while not self.is_over():
            if self.blows < self.options.blows:
                time.sleep(self.dice.uniform(0, self.options.calm))
                self.strike()
            else:
                for worker, program in self.workers.items():
                    if program.process.poll() is not None:
                        self.start_worker(worker)
                time.sleep(0.2)
        self.check(calm)
        for program in [*self.workers.values(), self.server]:
            program.kill()
        os.rename(self.path("state"), self.path("state-%d" % number))

    def check(self, calm):
        status = self.status(self.endpoint, "chaos")
        self.assertEqual((status["failed"], status["done"]), (0, status["tasks"]), status)
        found = pictures(self.path(self.out))
        self.assertEqual(found, calm, "bytes differ from the calm run")
        lines = index_lines(os.path.join(status["folder"], "index.jsonl"))
        self.assertEqual(sorted(line["index"] for line in lines), list(range(status["tasks"])))
        self.litho("fsck", "chaos", "--connect", self.endpoint)
        left = [name for _, _, files in os.walk(self.path(self.out)) for name in files
                if name.endswith(".part")]
        self.assertEqual(left, [])

    def test_blows_change_no_byte(self):
        o = self.options
        self.dice = random.Random(o.seed)
        self.blows, self.dealt, rounds = 0, {}, 0
        job = self.write("chaos.yaml", MANIFEST % (o.steps, o.seeds))
        self.litho("run", job, "--out", self.path("calm"), "--threads", "1")
        calm = {name: digest for name, digest in pictures(self.path("calm")).items()}
        self.assertEqual(len([n for n in calm if "sheet" not in n]), 3 * o.seeds)
        begun = time.monotonic()
        while self.blows < o.blows:
            self.one_round(rounds, job, calm)
            rounds += 1
        print("%d blows %s in %d rounds of %d pictures, seed %d, %.0f s: all bytes equal" %
              (self.blows, self.dealt, rounds, 3 * o.seeds, o.seed, time.monotonic() - begun))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--blows", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=8, help="pictures of each of three things")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--calm", type=float, default=0.8, help="longest time between blows, s")
    parser.add_argument("--pause", type=float, default=2.0, help="longest stop, s")
    parser.add_argument("--verbose", action="store_true")
    Chaos.options = parser.parse_args()
    import unittest
    result = unittest.TextTestRunner(verbosity=2).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(Chaos))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
