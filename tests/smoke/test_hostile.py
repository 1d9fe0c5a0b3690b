#!/usr/bin/python3
"""Peers that lie: names, pictures and leases from workers, clients and coordinators of evil will."""
import hashlib
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import zlib

try:
    import msgpack
    import zmq
except ImportError as missing:
    print("skipped: %s (Debian: python3-zmq, python3-msgpack)" % missing)
    sys.exit(77)

from programs import BIN, DEADLINE, SMALL, Case, environment, main, png_write, wait_until

JOB = "ab" * 32
BAD = "a\x1b]0;owned\x07\x1b[31m\u009b1m\u202ex\ny"
TASK = json.dumps({"cfg_scale": 1, "height": 64, "model": "m", "negative_prompt": "",
                   "precision": "f32", "prompt": "x", "sampler": "euler", "scheduler": "automatic",
                   "seed": 1, "steps": 1, "width": 64}, sort_keys=True, separators=(",", ":"))
WELCOME = {"type": "welcome", "protocol": 1, "software": BAD, "heartbeat_ms": 1000,
           "silence_ms": 15000, "frame_max": 67108864}


class Liar(threading.Thread):
    """A coordinator that answers what the test says: answer(message) gives a list of messages."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer, self.over = answer, threading.Event()
        self.seen = []
        self.router = zmq.Context.instance().socket(zmq.ROUTER)
        self.router.linger = 0
        self.endpoint = "tcp://127.0.0.1:%d" % self.router.bind_to_random_port("tcp://127.0.0.1")
        self.start()

    def run(self):
        while not self.over.is_set():
            if not self.router.poll(50):
                continue
            peer, frame = self.router.recv_multipart()
            message = msgpack.unpackb(frame)
            self.seen.append(message)
            for answer in self.answer(message):
                self.router.send_multipart([peer, msgpack.packb(answer)])

    def close(self):
        self.over.set()
        self.join()
        self.router.close()


def picture(width, height):
    return png_write([(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
                      (b"IDAT", zlib.compress(b"\0" * 4000)), (b"IEND", b"")])


def no_file_of_any_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


class Hostile(Case):
    def setUp(self):
        super().setUp()
        self.liars = []

    def tearDown(self):
        for liar in self.liars:
            liar.close()
        super().tearDown()

    def liar(self, answer):
        self.liars.append(Liar(answer))
        return self.liars[-1]

    def assert_plain(self, text):
        for code in map(ord, text):
            self.assertFalse(code < 32 and code != 10 or 0x7f <= code < 0xa0 or code == 0x202e,
                             repr(text))

    def test_texts_of_a_coordinator_steer_no_terminal(self):
        summary = {"job": JOB, "name": BAD, "state": BAD, "tasks": 9, "pending": 0, "running": 1,
                   "done": 0, "failed": 1, "folder": BAD, "sheet": BAD, "reason": BAD}
        running = {"index": 0, "attempt": 1, "worker": BAD, "step": 1, "steps": 2, "since_ms": 5}
        worker = {"name": BAD, "device": BAD, "device_class": BAD, "state": BAD, "done": 0,
                  "failed": 0, "connected_ms": 1, "silent_ms": 1, "running": [running],
                  "blocks": [{"model": BAD, "code": BAD}]}
        answers = {
            "status": {"type": "job", "summary": summary, "running": [running], "gang": BAD,
                       "failures": [{"index": 3, "attempts": 1, "code": BAD, "text": BAD}]},
            "list": {"type": "jobs", "total": 1, "jobs": [summary]},
            "workers": {"type": "fleet", "workers": [worker]},
            "history": {"type": "attempts", "index": 0, "state": BAD, "attempts": [
                {"attempt": 1, "worker": BAD, "code": BAD, "text": BAD}]},
            "check": {"type": "checked", "files": 1, "next": 0, "bad": [
                {"index": 1, "path": BAD, "text": BAD}]},
            "cancel": {"type": "error", "code": "conflict", "text": BAD}}

        def answer(message):
            if message["type"] == "hello":
                return [WELCOME]
            known = answers.get(message["type"])
            return [dict(known, request=message["request"])] if known else []
        liar = self.liar(answer)
        for code, *args in ((0, "status", "x"), (0, "list"), (0, "workers"), (0, "logs", "x", "0"),
                            (1, "fsck", "x"), (1, "cancel", "x")):
            done = self.litho(*args, "--connect", liar.endpoint, expect=code)
            self.assertIn("owned", done.stdout + done.stderr, args)
            self.assert_plain(done.stdout + done.stderr)

    def test_get_takes_pictures_names_alone_and_pages_that_lead_on(self):
        png = picture(8, 8)
        names = ["../out.png", "/tmp/out.png", ".profile", ".ssh/x.png", "a/../b.png", "a//b.png",
                 "script.sh", "good/0.png"]
        records = [{"index": i, "state": "done", "path": name, "bytes": len(png), "attempt": 1,
                    "sha256": hashlib.sha256(png).hexdigest()} for i, name in enumerate(names)]

        def answer(message):
            if message["type"] == "hello":
                return [WELCOME]
            if message["type"] == "records":
                return [{"type": "page", "request": message["request"], "records": records,
                         "next": 5}]
            if message["type"] == "fetch":
                return [{"type": "picture", "request": message["request"], "png": png,
                         "index": message["index"], "sha256": hashlib.sha256(png).hexdigest()}]
            return []
        done = self.litho("get", "x", "got", "--connect", self.liar(answer).endpoint, expect=1)
        self.assertIn("leads back", done.stderr)
        found = [os.path.join(place, name) for place, _, files in os.walk(self.path("got"))
                 for name in files]
        self.assertEqual(found, [self.path("got", "good", "0.png")])
        self.assertEqual([name for name in os.listdir(self.folder) if name != "got"], [])

    def test_a_limit_of_file_size_is_told_like_a_disk_that_refuses(self):
        job = self.write("small.yaml", SMALL)
        done = subprocess.run([os.path.join(BIN, "litho"), "run", job, "--workers", "1"],
                              cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=DEADLINE, check=False, preexec_fn=no_file_of_any_size)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("File too large", done.stderr)

    def test_names_of_manifests_steer_no_terminal(self):
        name = "job\x1b]0;owned\x07.yaml"
        self.write(name, "litho: 1\nnonsense: 3\n")
        done = self.litho("plan", name, expect=2)
        self.assertIn("unknown key 'nonsense'", done.stderr)
        self.assertIn("owned", done.stderr)
        self.assert_plain(done.stdout + done.stderr)

    def test_the_reason_follows_a_path_of_any_length(self):
        done = self.litho("run", self.write("small.yaml", SMALL), "--out",
                          self.path(*["k" * 200] * 8), "--workers", "1", expect=1)
        self.assertRegex(done.stderr, "too long|unable to open|longer than")

    def test_leases_that_make_no_sense_fail_and_the_worker_lives(self):
        lease = {"type": "lease", "job": JOB, "attempt": 1}
        asset = {"role": "model", "name": "m", "sha256": JOB, "bytes": 2 ** 53 - 1}
        wrong = [dict(lease, task="[" * 100000), dict(lease, task="{}"),
                 dict(lease, task=TASK, assets=[dict(asset, name="../../x")]),
                 dict(lease, task=TASK, assets=[dict(asset, role="boot")]),
                 dict(lease, task=TASK, assets=[asset]),
                 dict(lease, task=TASK.replace('"width":64', '"width":99999999')),
                 dict(lease, task=TASK, gang_guidance=2, gang_tensor=8, gang_rank=1,
                      gang_meeting="unix:" + "x" * 60000),
                 dict(lease, task=TASK, gang_guidance=1, gang_tensor=0, gang_rank=15,
                      gang_meeting="tcp:127.0.0.1:1/x"),
                 dict(lease, task=TASK, gang_guidance=2, gang_tensor=1, gang_rank=0,
                      gang_meeting="")]
        wrong = [dict(message, index=i) for i, message in enumerate(wrong)]
        silent = [dict(lease, index=90, task=TASK, gang_guidance=65536, gang_tensor=65536,
                       gang_rank=1), {"type": "lease"}, {"type": "what"}]
        todo = wrong + silent

        def answer(message):
            if message["type"] == "hello":
                return [WELCOME]
            if message["type"] == "want":
                return [{"type": "chunk", "sha256": JOB, "offset": message["offset"],
                         "total": 12345, "data": b"x"}]
            if message["type"] == "failed":
                answers = [{"type": "ack", "job": JOB, "index": message["index"], "attempt": 1,
                            "verdict": "accepted"}]
            elif message["type"] == "ping":
                answers = [{"type": "pong"}]
            else:
                answers = []
            return answers + ([todo.pop(0)] if todo else [])
        liar = self.liar(answer)
        worker = self.worker(liar.endpoint, "w")
        wait_until(lambda: not todo and len({m["index"] for m in liar.seen
                                             if m["type"] == "failed"}) == len(wrong),
                   "every lease has failed")
        wait_until(lambda: any(m["type"] == "ping" for m in liar.seen[-3:]), "it goes on")
        self.assertEqual(worker.stop(), 0, worker.text())
        self.assert_plain(worker.text())


if __name__ == "__main__":
    main()
