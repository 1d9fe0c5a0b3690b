#!/usr/bin/python3
"""Gangs of real workers: the pictures of one worker, and what a lost member does to them."""
import re
import struct
import zlib

from programs import (SIGKILL, Case, index_lines, main, pictures, png_chunks, png_texts,
                      wait_until)

JOB = """\
litho: 1
job: shared
model: sticker-128
defaults: {size: 64x64, steps: %d, sampler: euler_a, cfg_scale: 3, precision: f32}
prompt: a fox on a teal background
negative_prompt: blurry
axes: {seed: 1-%d}
%s
output: {path: "{job}/{seed}.png"}
"""


def paeth(a, b, c):
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def png_pixels(path):
    """The numbers of an 8-bit RGB picture, row by row."""
    with open(path, "rb") as file:
        chunks = png_chunks(file.read())
    width, height = struct.unpack(">II", dict(chunks)[b"IHDR"][:8])
    data = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    size, before, pixels = 3 * width, bytearray(3 * width), bytearray()
    for y in range(height):
        kind, row = data[y * (size + 1)], bytearray(data[y * (size + 1) + 1:(y + 1) * (size + 1)])
        for i in range(size):
            a, b = row[i - 3] if i >= 3 else 0, before[i]
            c = before[i - 3] if i >= 3 else 0
            row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) % 256
        pixels += row
        before = row
    return pixels


class Gangs(Case):
    def alone(self, steps, n):
        """{name: SHA-256} of the same pictures by one worker."""
        self.litho("run", self.write("alone.yaml", JOB % (steps, n, "")), "--out",
                   self.path("alone"))
        return pictures(self.path("alone"))

    def test_two_workers_share_every_picture_and_no_byte_changes(self):
        endpoint = self.coordinator().endpoint
        workers = [self.worker(endpoint, name) for name in ("one", "two")]
        self.litho("submit", self.write("pair.yaml", JOB % (3, 2, "gang: 2")), "--connect",
                   endpoint)
        self.litho("watch", "shared", "--connect", endpoint)
        self.assertEqual(pictures(self.path("out")), self.alone(3, 2))
        status = self.status(endpoint, "shared")
        self.assertEqual(status["gang"]["shape"], "guidance 2, tensor 1")
        self.assertIn("gang    guidance 2", self.litho("status", "shared", "--connect",
                                                       endpoint).stdout)
        lines = index_lines(self.path("out", "shared", "index.jsonl"))
        self.assertEqual(len(lines), 2)
        for worker in workers:
            self.assertEqual(worker.stop(), 0, worker.text())

    def test_four_workers_hold_parts_and_differ_by_a_level_at_most(self):
        endpoint = self.coordinator().endpoint
        for name in ("one", "two", "three", "four"):
            self.worker(endpoint, name)
        job = JOB % (3, 2, "gang: {guidance: 2, tensor: 2}")
        self.litho("submit", self.write("four.yaml", job), "--connect", endpoint)
        self.litho("watch", "shared", "--connect", endpoint)
        for name in (name for name in self.alone(3, 2) if "sheet" not in name):
            shared, alone = self.path("out", name), self.path("alone", name)
            self.assertLessEqual(max(abs(a - b) for a, b in
                                     zip(png_pixels(shared), png_pixels(alone))), 1)
            self.assertIn('"device_class":"cpu+tensor2"', png_texts(shared)["litho"])

    def test_a_member_killed_in_mid_step_costs_no_picture(self):
        coordinator = self.coordinator()
        endpoint = coordinator.endpoint
        workers = [self.worker(endpoint, name) for name in ("one", "two", "three")]
        self.litho("submit", self.write("pair.yaml", JOB % (12, 1, "gang: 2")), "--connect",
                   endpoint)

        def at_work():
            running = self.status(endpoint, "shared")["running_tasks"]
            return [task for task in running if task["step"] >= 2]
        victim = wait_until(at_work, "a gang is at work")[0]["worker"]
        workers[("one", "two", "three").index(victim)].signal(SIGKILL)
        self.litho("watch", "shared", "--connect", endpoint)
        self.assertEqual(pictures(self.path("out")), self.alone(12, 1))
        self.assertGreaterEqual(len(re.findall("gang job=", coordinator.text())), 2,
                                coordinator.text())


if __name__ == "__main__":
    main()
