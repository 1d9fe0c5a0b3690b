#!/usr/bin/python3
"""A standing cluster and the commands that speak with it; what must not bring it down."""
import os
import re
import socket
import struct
import urllib.request

from programs import (DEADLINE, LONG, SMALL, Case, Program, index_lines, main, pictures,
                      wait_until)

JOB_KEYS = {"job", "name", "state", "tasks", "pending", "running", "done", "failed", "submitted_ms",
            "finished_ms", "rate", "eta_seconds", "folder", "sheet", "priority", "reason"}


class Commands(Case):
    def test_submit_list_status_watch_and_workers(self):
        endpoint = self.coordinator().endpoint
        job = self.write("small.yaml", SMALL)
        submitted = self.litho_json("submit", job, "--connect", endpoint)[0]
        self.assertEqual((submitted["name"], submitted["tasks"], submitted["known"]),
                         ("small", 6, False))
        status = self.litho_json("status", submitted["job"][:8], LITHO_CONNECT=endpoint)[0]
        self.assertEqual(set(status), JOB_KEYS | {"running_tasks", "failures", "gang"})
        self.assertEqual((status["pending"], status["done"]), (6, 0))

        self.worker(endpoint, "only")
        watched = self.litho_json("watch", "small", "--connect", endpoint)
        self.assertEqual(watched[-1]["state"], "done")
        self.assertEqual(watched[-1]["done"], 6)
        listed = self.litho_json("list", "--connect", endpoint)
        self.assertEqual(len(listed), 1)
        self.assertEqual(set(listed[0]), JOB_KEYS)
        workers = self.litho_json("workers", "--connect", endpoint)
        self.assertEqual([(w["name"], w["done"], w["failed"]) for w in workers],
                         [("only", 6, 0)])

        for text in (self.litho("list", "--connect", endpoint).stdout,
                     self.litho("status", "small", "--connect", endpoint).stdout,
                     self.litho("watch", "small", "--connect", endpoint).stdout):
            self.assertIn("small", text)
            self.assertIn("done", text)
        self.assertIn("only", self.litho("workers", "--connect", endpoint).stdout)
        again = self.litho_json("submit", job, "--connect", endpoint)[0]
        self.assertTrue(again["known"])
        self.assertEqual(again["job"], submitted["job"])

    def test_watch_gives_the_exit_code_of_the_job(self):
        endpoint = self.coordinator().endpoint
        self.worker(endpoint, "only")
        job = self.write("small.yaml", SMALL.replace("sticker-128", "no-such-model"))
        self.litho("submit", job, "--connect", endpoint)
        done = self.litho("watch", "small", "--connect", endpoint, expect=1)
        self.assertIn("asset_missing", done.stderr)

    def test_cancelled_job_stops_and_goes_on_when_submitted_again(self):
        endpoint = self.coordinator().endpoint
        job = self.write("long.yaml", LONG)
        self.litho("submit", job, "--connect", endpoint)
        cancelled = self.litho_json("cancel", "long", "--connect", endpoint)[0]
        self.assertEqual(cancelled["state"], "cancelled")
        self.litho("watch", "long", "--connect", endpoint, expect=1)
        self.litho("submit", job, "--connect", endpoint)
        self.worker(endpoint, "only")
        self.litho("watch", "long", "--connect", endpoint)
        self.assertEqual(len(index_lines(self.path("out", "long", "index.jsonl"))), 8)

    def test_unknown_job_is_named(self):
        endpoint = self.coordinator().endpoint
        self.assertIn("nosuch", self.litho("status", "nosuch", "--connect", endpoint,
                                           expect=1).stderr)

    def test_two_jobs_share_the_workers(self):
        endpoint = self.coordinator().endpoint
        for name in ("one", "two"):
            self.worker(endpoint, name)
        small, long = self.write("small.yaml", SMALL), self.write("long.yaml", LONG)
        self.litho("submit", long, "--connect", endpoint)
        self.litho("submit", small, "--connect", endpoint)
        self.litho("watch", "small", "--connect", endpoint)
        self.litho("watch", "long", "--connect", endpoint)
        self.assertEqual([job["name"] for job in self.litho_json("list", "--connect", endpoint)],
                         ["small", "long"])
        self.assertEqual(len(pictures(self.path("out", "long"))), 8 + 1)


class Metrics(Case):
    def fetch(self, address):
        with urllib.request.urlopen("http://%s/metrics" % address, timeout=DEADLINE) as page:
            self.assertIn("text/plain", page.headers["Content-Type"])
            lines = page.read().decode("utf-8").splitlines()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))}

    def test_counters_move_with_a_job(self):
        coordinator = self.coordinator("state", "out", None, "--metrics", "127.0.0.1:0")
        address = re.search(r"endpoint=http://([0-9.:]+)/metrics", coordinator.text()).group(1)
        before = wait_until(lambda: self.fetch(address), "a first snapshot")
        self.assertEqual(before["litho_images_total"], 0)
        self.litho("submit", self.write("small.yaml", SMALL), "--connect", coordinator.endpoint)
        wait_until(lambda: self.fetch(address)["litho_queue_depth"] == 6, "the queue is seen")
        self.worker(coordinator.endpoint, "only")
        self.litho("watch", "small", "--connect", coordinator.endpoint)
        after = wait_until(lambda: (lambda page: page if page["litho_images_total"] == 6 else None)
                           (self.fetch(address)), "six pictures are counted")
        self.assertEqual(after["litho_render_seconds_count"], 6)
        self.assertEqual(after["litho_queue_depth"], 0)
        self.assertGreater(after["litho_picture_bytes_total"], 6000)
        self.assertEqual(coordinator.stop(), 0, coordinator.text())

    def test_addresses_of_the_network_are_refused(self):
        for address in ("0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:9464"):
            program = Program(self, "litho-coordinator", "--listen", "ipc://" + self.path("socket"),
                              "--state", self.path("state"), "--out", self.path("out"),
                              "--metrics", address)
            self.assertEqual(program.wait(), 1, program.text())
            self.assertIn("loopback", program.text())


class Intruders(Case):
    def check_alive(self, coordinator):
        """It still takes a job and finishes it."""
        job = self.write("small.yaml", SMALL)
        worker = self.worker(coordinator.endpoint, "only")
        self.litho("submit", job, "--set", "axes.thing=[fox]", "--connect", coordinator.endpoint)
        self.litho("watch", "small", "--connect", coordinator.endpoint)
        self.assertEqual(worker.stop(), 0, worker.text())
        self.assertEqual(coordinator.stop(), 0, coordinator.text())

    def test_second_coordinator_on_one_state_folder_is_refused(self):
        coordinator = self.coordinator()
        second = Program(self, "litho-coordinator", "--listen", "ipc://" + self.path("other"),
                         "--state", self.path("state"), "--out", self.path("out"))
        self.assertEqual(second.wait(), 1, second.text())
        self.assertIn(str(coordinator.process.pid), second.text())
        self.check_alive(coordinator)

    def test_garbage_bytes_on_the_socket_do_no_harm(self):
        coordinator = self.coordinator(listen="tcp://127.0.0.1:0")
        host, port = coordinator.endpoint.removeprefix("tcp://").rsplit(":", 1)
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(1) + bytes(31)
        ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
        garbage = (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\xff" * 64, greeting,
                   greeting + os.urandom(100),
                   greeting + ready + b"\x00\x05hello",
                   greeting + ready + b"\x00\x01\x80" + b"\x00\x03\xdf\xff\xff",
                   greeting + ready + b"\x02" + struct.pack(">Q", 1 << 40))
        for data in garbage:
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                try:
                    while connection.recv(4096):
                        pass  # until the other side closes
                except (ConnectionError, socket.timeout):
                    pass
        self.check_alive(coordinator)

    def test_coordinator_refuses_addresses_of_the_network(self):
        program = Program(self, "litho-coordinator", "--listen", "tcp://0.0.0.0:0", "--state",
                          self.path("state"), "--out", self.path("out"))
        self.assertEqual(program.wait(), 1, program.text())
        self.assertIn("0.0.0.0", program.text())


if __name__ == "__main__":
    main()
