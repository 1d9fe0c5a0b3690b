#!/usr/bin/python3
"""What deploy/README.md installs: the programs without their source tree, and the services."""
import os
import shlex
import subprocess

from programs import BIN, DEADLINE, SMALL, SOURCE, Case, Program, environment, main, pictures


class Install(Case):
    def test_installed_programs_need_no_source_tree(self):
        subprocess.run(["cmake", "--install", os.path.dirname(BIN), "--prefix", self.path("usr")],
                       check=True, stdout=subprocess.DEVNULL, timeout=DEADLINE)
        env = environment()
        env.pop("LITHO_MODELS")
        job = self.write("small.yaml", SMALL)
        done = subprocess.run([self.path("usr", "bin", "litho"), "run", job, "--quiet"],
                              cwd=self.folder, env=env, timeout=DEADLINE, check=False,
                              stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(pictures(self.path("out"))), 7)


class Services(Case):
    def start(self, unit, **changes):
        """The program of a unit's ExecStart, with this test's folders and addresses."""
        with open(os.path.join(SOURCE, "deploy", "systemd", unit), encoding="utf-8") as file:
            line = [line for line in file if line.startswith("ExecStart=")][0]
        changes.update({"/usr/local/bin/": "", "%H-%i": "here-1",
                        "tcp://127.0.0.1:7700": "ipc://" + self.path("socket"),
                        "127.0.0.1:7701": "127.0.0.1:0", "/var/lib/litho": self.path("lib"),
                        "/var/cache/litho": self.path("cache"),
                        "/usr/local/share/litho/models": os.path.join(SOURCE, "models")})
        for what, by in changes.items():
            line = line.replace(what, by)
        name, *args = shlex.split(line.split("=", 1)[1])
        return Program(self, name, *args)

    def test_units_start_what_renders_and_a_drained_worker_stays_ended(self):
        coordinator = self.start("litho-coordinator.service")
        worker = self.start("litho-worker@.service", **{"$LITHO_WORKER_OPTIONS": "--threads 1"})
        connect = {"LITHO_CONNECT": "ipc://" + self.path("socket")}
        self.litho("submit", self.write("small.yaml", SMALL), "--wait", **connect)
        self.assertEqual(len(pictures(self.path("lib", "out"))), 7)
        self.litho("drain", "here-1", **connect)
        self.assertEqual(worker.wait(), 0, worker.text())
        self.assertEqual(coordinator.stop(), 0, coordinator.text())


if __name__ == "__main__":
    main()
