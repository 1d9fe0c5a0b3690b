#!/usr/bin/python3
"""What deploy/README.md installs: the programs without their source tree, and the services."""
import os
import re
import shlex
import shutil
import subprocess
import unittest
import urllib.request

from programs import (BIN, DEADLINE, SMALL, SOURCE, Case, Program, environment, main, pictures,
                      wait_until)


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
        with open(self.path("usr", "share", "bash-completion", "completions", "litho"),
                  encoding="utf-8") as file:
            self.assertIn("complete -o bashdefault -o default -F _litho litho", file.read())


class Completion(Case):
    def complete(self, *words):
        """What bash would offer for the last of the words after `litho`."""
        script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _litho "$1"; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "bash",
                               os.path.join(SOURCE, "deploy", "completions", "litho"),
                               os.path.join(BIN, "litho"), *words], env=environment(), check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_every_command_and_option_of_the_help_is_offered(self):
        overview = self.litho("help").stdout
        commands = re.findall(r"^  ([a-z]+) ", overview, re.M)
        self.assertGreater(len(commands), 15)
        self.assertEqual(set(self.complete("")), {"help", "--help", "--version", *commands})
        self.assertEqual(self.complete("help", "")[:1], commands[:1])
        for command in commands:
            options = set(re.findall(r"(--[a-z-]+)", "\n".join(
                line.split("  ")[1] for line in self.litho("help", command).stdout.splitlines()
                if line.startswith("  --"))))
            self.assertIn("--help", options)
            self.assertEqual(set(self.complete(command, "-")), options, command)

    def test_what_begins_alike_is_offered_and_files_are_left_to_the_shell(self):
        self.assertEqual(self.complete("pl"), ["plan"])
        self.assertEqual(self.complete("run", "job.yaml", "--wo"), ["--workers"])
        self.assertEqual(self.complete("run", "jo"), [])
        self.assertEqual(self.complete("nonsense", "--"), [])


class Services(Case):
    @unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze")
    def test_units_are_ones_that_systemd_takes(self):
        for name, instance in (("litho-coordinator.service", None),
                               ("litho-worker@.service", "litho-worker@1.service")):
            with open(os.path.join(SOURCE, "deploy", "systemd", name), encoding="utf-8") as file:
                text = file.read()
            self.assertIn("RestartPreventExitStatus=2\n", text)
            unit = self.write(instance or name, text.replace("/usr/local/bin", BIN))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            ours = [line for line in done.stdout.splitlines() if "litho" in line]
            self.assertEqual((done.returncode, ours), (0, []), done.stdout)

    @unittest.skipUnless(shutil.which("promtool"), "there is no promtool")
    def test_rules_and_metrics_are_ones_that_prometheus_takes(self):
        rules = os.path.join(SOURCE, "monitoring", "prometheus", "litho.rules.yml")
        coordinator = self.start("litho-coordinator.service")
        address = wait_until(lambda: re.search(r"endpoint=(http:\S+/metrics)", coordinator.text()),
                             "it says where its metrics are").group(1)

        def scrape():
            with urllib.request.urlopen(address, timeout=DEADLINE) as answer:
                return answer.read().decode()
        metrics = wait_until(scrape, "metrics are there")
        for given, *args in ((None, "rules", rules), (metrics, "metrics")):
            done = subprocess.run(["promtool", "check", *args], check=False, input=given, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout)
        with open(rules, encoding="utf-8") as file:
            for name in re.findall(r"litho_[a-z_]+", file.read()):
                self.assertRegex(metrics, r"(?m)^# TYPE %s " % re.sub("_bucket$", "", name))

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
