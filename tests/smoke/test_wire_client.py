#!/usr/bin/python3
"""An independent client (and a worker) written from proto/PROTOCOL.md alone, with pyzmq and msgpack."""
import hashlib
import json
import os
import random
import re
import sys

try:
    import msgpack
    import zmq
except ImportError as missing:
    print("skipped: %s (Debian: python3-zmq, python3-msgpack)" % missing)
    sys.exit(77)

from programs import DEADLINE, MODEL, SOURCE, Case, Program, main, wait_until

BUNDLE = {  # jobs/SPEC.md, "The bundle"
    "litho": 1,
    "job": "wire",
    "fixed": {"cfg_scale": 1, "height": 64, "model": MODEL, "negative_prompt": "",
              "precision": "f32", "prompt": "a ${thing} on a pink background", "sampler": "euler",
              "scheduler": "automatic", "seed": 3, "steps": 2, "width": 64},
    "axes": [{"name": "thing", "columns": ["thing"], "rows": [["fox"], ["pizza"], ["owl"]]}],
    "combine": [[0]],
    "exclude": [],
    "output": {"path": "{job}/{index}.png", "sheet": None},
}


def canonical(value):
    """RFC 8785 for what a bundle holds here: short integers, text, no exotic keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"),
                      ensure_ascii=False).encode("utf-8")


class Peer:
    def __init__(self, endpoint, identity=None):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        if identity:
            self.socket.setsockopt(zmq.ROUTING_ID, identity)
        self.socket.connect(endpoint)
        self.number = 0

    def send(self, kind, **keys):
        self.socket.send(msgpack.packb({"type": kind, **keys}))

    def receive(self, *kinds):
        """The next message of one of these types; pings are answered on the way."""
        while True:
            if not self.socket.poll(DEADLINE * 1000):
                raise AssertionError("no %s came" % "/".join(kinds))
            message = msgpack.unpackb(self.socket.recv())
            if message["type"] in kinds:
                return message
            if message["type"] == "ping":
                self.send("pong")
            elif message["type"] not in ("pong", "revoke", "progress"):
                raise AssertionError("unexpected %r" % message)

    def hello(self, **keys):
        hello = {"protocol": 1, "protocol_min": 1, "role": "client", **keys}
        self.send("hello", **hello)
        return self.receive("welcome", "error")

    def ask(self, kind, answer, **keys):
        self.number += 1
        self.send(kind, request=self.number, **keys)
        message = self.receive(answer, "error")
        if message["request"] != self.number:
            raise AssertionError("answer to another request: %r" % message)
        return message

    def close(self):
        self.socket.close()


class Wire(Case):
    def setUp(self):
        super().setUp()
        self.server = self.coordinator(listen="tcp://127.0.0.1:0")
        self.peers = []

    def tearDown(self):
        for peer in self.peers:
            peer.close()
        super().tearDown()

    def peer(self, identity=None):
        self.peers.append(Peer(self.server.endpoint, identity))
        return self.peers[-1]

    def client(self):
        client = self.peer()
        welcome = client.hello()
        self.assertEqual((welcome["type"], welcome["protocol"]), ("welcome", 1))
        return client

    def test_client_submits_waits_pages_and_fetches(self):
        client, bundle = self.client(), canonical(BUNDLE)
        job = hashlib.sha256(bundle).hexdigest()
        submitted = client.ask("submit", "submitted", bundle=bundle)
        self.assertEqual(submitted["type"], "submitted", submitted)
        self.assertEqual((submitted["job"], submitted["tasks"]), (job, 3))
        self.assertFalse(submitted.get("known", False))
        self.worker(self.server.endpoint, "renderer")

        def settled():
            summary = client.ask("status", "job", job=job[:12])["summary"]
            self.assertEqual(summary["tasks"], sum(
                summary[state] for state in ("pending", "running", "done", "failed")))
            return summary["state"] in ("done", "failed", "cancelled") and summary
        summary = wait_until(settled, "the job is settled")
        self.assertEqual((summary["state"], summary["done"]), ("done", 3))

        records, start = [], 0
        while True:
            page = client.ask("records", "page", job=job, **{"from": start}, limit=2)
            self.assertLessEqual(len(page["records"]), 2)
            records += page["records"]
            start = page["next"]
            if start == 0:
                break
        self.assertEqual([record["index"] for record in records], [0, 1, 2])
        for record in records:
            self.assertEqual(record["state"], "done")
            self.assertEqual(record["path"], "wire/%d.png" % record["index"])
            self.assertEqual(record["worker"], "renderer")
            picture = client.ask("fetch", "picture", job="wire", index=record["index"])
            self.assertEqual(hashlib.sha256(picture["png"]).hexdigest(), record["sha256"])
            self.assertEqual(picture["sha256"], record["sha256"])
            self.assertEqual(len(picture["png"]), record["bytes"])
            with open(self.path("out", record["path"]), "rb") as file:
                self.assertEqual(file.read(), picture["png"])

        listed = client.ask("list", "jobs", limit=10)
        self.assertEqual((listed["total"], listed["jobs"][0]["job"]), (1, job))
        fleet = client.ask("workers", "fleet")
        self.assertEqual([(w["name"], w["done"]) for w in fleet["workers"]], [("renderer", 3)])
        self.assertTrue(client.ask("submit", "submitted", bundle=bundle)["known"])
        client.send("bye")

    def test_each_request_has_the_answers_that_the_protocol_lists(self):
        with open(os.path.join(SOURCE, "proto", "PROTOCOL.md"), encoding="utf-8") as file:
            grammar = re.search("request answer =(.*?)```", file.read(), re.DOTALL).group(1)
        listed = dict(re.findall(r"(\w+) +\( (\w+) +/ error \)", grammar))
        client, bundle = self.client(), canonical(BUNDLE)
        client.ask("submit", "submitted", bundle=bundle)
        self.worker(self.server.endpoint, "renderer")
        wait_until(lambda: client.ask("status", "job", job="wire")["summary"]["state"] == "done", "the job is done")
        other = canonical({**BUNDLE, "job": "other"})
        job = {"job": "wire"}
        asked = {  # in this order: keys that are answered, keys that are refused; None: none are
            "drain": ({"worker": "renderer"}, {"worker": "nobody"}),  # so nobody touches the other job
            "submit": ({"bundle": other}, {"bundle": b"{}"}),
            "list": ({"limit": 1}, None),
            "status": (job, {"job": "nobody"}),
            "pause": ({"job": "other"}, job),  # which is over
            "resume": ({"job": "other"}, job),
            "cancel": ({"job": "other"}, {"job": "nobody"}),
            "remove": ({"job": "other"}, {"job": "nobody"}),
            "records": ({**job, "limit": 1}, {"job": "nobody", "limit": 1}),
            "history": ({**job, "index": 0}, {**job, "index": 99}),
            "check": ({**job, "limit": 1}, {"job": "nobody", "limit": 1}),
            "fetch": ({**job, "index": 0}, {**job, "index": 99}),
            "retry": (job, {"job": "nobody"}),
            "workers": ({}, None),
        }
        self.assertEqual(set(asked), set(listed))
        for request, (good, bad) in asked.items():
            answer = client.ask(request, listed[request], **good)
            self.assertEqual(answer["type"], listed[request], answer)
            if bad is not None:
                answer = client.ask(request, listed[request], **bad)
                self.assertEqual(answer["type"], "error", (request, answer))

    def test_own_worker_takes_a_lease_and_its_result_is_kept(self):
        client, bundle = self.client(), canonical(BUNDLE)
        job = client.ask("submit", "submitted", bundle=bundle)["job"]
        worker = self.peer(b"worker/mine/1")
        worker.hello(role="worker", name="mine", device="test", device_class="test-class")
        worker.send("ready", credits=1, held=[])
        lease = worker.receive("lease")
        task = json.loads(lease["task"])
        self.assertEqual(task["prompt"], "a fox on a pink background")
        self.assertEqual((lease["job"], lease["index"], lease["attempt"]), (job, 0, 1))
        attempt = {key: lease[key] for key in ("job", "index", "attempt")}
        worker.send("progress", **attempt, step=1, steps=2)
        running = client.ask("status", "job", job=job)["running"]
        self.assertEqual([(r["index"], r["worker"], r["step"]) for r in running], [(0, "mine", 1)])
        worker.send("failed", **attempt, code="bad_input", text="not today", retryable=False)
        self.assertIn(worker.receive("ack")["verdict"], ("accepted", "duplicate", "unknown"))
        failures = client.ask("status", "job", job=job)["failures"]
        self.assertEqual([(f["index"], f["code"], f["text"]) for f in failures],
                         [(0, "bad_input", "not today")])

    def test_other_protocol_version_is_refused_with_the_versions(self):
        for role in ("worker", "client"):
            peer = self.peer()
            answer = peer.hello(protocol=9, protocol_min=8, role=role, name="future",
                                device_class="test")
            self.assertEqual((answer["type"], answer.get("request", 0), answer["code"]),
                             ("error", 0, "conflict"))
            self.assertIn("9", answer["text"])
        newer = self.peer().hello(protocol=9, protocol_min=1)
        self.assertEqual((newer["type"], newer["protocol"]), ("welcome", 1))

    def test_request_before_hello_is_answered_by_say_hello_first(self):
        peer = self.peer()
        peer.send("list", request=1, limit=1)
        answer = peer.receive("error")
        self.assertEqual((answer["code"], answer["text"]), ("conflict", "say hello first"))
        self.assertEqual(peer.hello()["type"], "welcome")

    def test_broken_frames_are_answered_and_do_no_harm(self):
        frames = [b"", b"\xc1", b"\x80", b"\x81\xa4type", b"\x81\xa4type\xa4what",
                  b"\x81\xa4type\x01", b"\xdf\xff\xff\xff\xff", b"\x91" * 5000,
                  msgpack.packb({"type": "status", "request": 1}),
                  msgpack.packb({"type": "status", "request": 0, "job": "abcd"}),
                  msgpack.packb({"type": "status", "request": 1, "job": "x" * 300}),
                  msgpack.packb({"type": "list", "request": 1, "limit": 1001}),
                  msgpack.packb({"type": "list", "request": -1, "limit": 1}),
                  msgpack.packb({"type": "ping"}) + b"\0"]
        client = self.client()
        for frame in frames:
            client.socket.send(frame)
            answer = client.receive("error")
            self.assertEqual((answer.get("request", 0), answer["code"]), (0, "bad_input"),
                             repr(frame[:40]))
        client.socket.send_multipart([b"two", b"parts"])
        self.assertEqual(client.ask("list", "jobs", limit=1)["total"], 0)

    def test_random_messages_of_right_shape_do_no_harm(self):
        """Every message type with keys and values by the dice, from a client and from a worker."""
        dice = random.Random(77)
        types = ("hello welcome ready lease progress result failed ack revoke ping pong error submit"
                 " submitted list jobs status job cancel workers fleet records page fetch picture"
                 ).split()  # no bye: the peer is to stay
        keys = ("request job index attempt step steps code text limit from before held credits png"
                " sha256 device_class precision retryable bundle role name protocol next black"
                ).split()
        job = "ab" * 32
        values = (0, 1, -1, 2 ** 63, 2 ** 64 - 1, 0.5, float("nan"), None, True, "", "x" * 70, job,
                  "\u0000", b"", b"\x89PNG", [], [1], [{"job": job, "index": 0, "attempt": 1}],
                  {}, {"a": {}}, "client", "worker")
        for role in ("client", "worker"):
            peer = self.peer()
            peer.hello(role=role, name="dice", device="d", device_class="c")
            for _ in range(400):
                message = {"type": dice.choice(types)}
                for key in dice.sample(keys, dice.randrange(1, 8)):
                    message[key] = dice.choice(values)
                peer.socket.send(msgpack.packb(message))
        self.assertEqual(self.client().ask("list", "jobs", limit=1)["total"], 0)
        self.assertIsNone(self.server.process.poll(), self.server.text())

    def test_wrong_bundles_and_jobs_are_refused_by_name(self):
        client = self.client()
        broken = dict(BUNDLE, fixed=dict(BUNDLE["fixed"], steps=0))
        for bundle in (b"{", b"[]", canonical(broken),
                       canonical(dict(BUNDLE, output={"path": "../x.png", "sheet": None}))):
            answer = client.ask("submit", "submitted", bundle=bundle)
            self.assertEqual((answer["type"], answer["code"]), ("error", "bad_input"))
        answer = client.ask("status", "job", job="0123")
        self.assertEqual((answer["type"], answer["code"]), ("error", "asset_missing"))


class OtherVersion(Case):
    """Our programs before a coordinator that speaks another version only."""

    def setUp(self):
        super().setUp()
        self.router = zmq.Context.instance().socket(zmq.ROUTER)
        self.router.linger = 0
        self.endpoint = "tcp://127.0.0.1:%d" % self.router.bind_to_random_port("tcp://127.0.0.1")

    def tearDown(self):
        self.router.close()
        super().tearDown()

    def test_worker_and_client_end_with_the_versions(self):
        for name, args in (("litho-worker", ()), ("litho", ("list",))):
            program = Program(self, name, *args, "--connect", self.endpoint)
            self.assertTrue(self.router.poll(DEADLINE * 1000), program.text())
            peer, frame = self.router.recv_multipart()
            self.assertEqual(msgpack.unpackb(frame)["type"], "hello")
            self.router.send_multipart([peer, msgpack.packb({
                "type": "error", "code": "conflict", "text": "this coordinator speaks 7 to 9"})])
            self.assertEqual(program.wait(), 1, program.text())
            self.assertIn("speaks 7 to 9", program.text())


if __name__ == "__main__":
    main()
