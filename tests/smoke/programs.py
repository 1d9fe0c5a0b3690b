"""The programs under test as child processes, and what their files should hold.

LITHO_BIN is the folder of the programs, LITHO_SOURCE the source tree; both have defaults.
Everything waits for conditions with a deadline; nothing sleeps for a guessed time.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import zlib

SOURCE = os.environ.get("LITHO_SOURCE",
                        os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BIN = os.environ.get("LITHO_BIN", os.path.join(SOURCE, "build", "dev", "bin"))
MODEL = os.path.join(SOURCE, "models", "sticker-128")
CACHE = tempfile.TemporaryDirectory(prefix="litho-smoke-cache-")  # of workers, not the user's own
DEADLINE = 240  # seconds; sanitized builds on busy machines are slow

SMALL = """\
litho: 1
job: small
model: sticker-128
defaults: {size: 64x64, steps: 2, sampler: euler, seed: 5}
prompt: a ${thing} on a ${ground} background
axes:
  thing: [fox, pizza, owl]
  ground: [teal, pink]
output: {path: "{job}/{thing}-{ground}.png", sheet: {x: ground, y: thing}}
"""

LONG = """\
litho: 1
job: long
model: sticker-128
defaults: {size: 64x64, steps: 30, sampler: euler_a, cfg_scale: 3}
prompt: a fox on a teal background
axes: {seed: 1-8}
output: {path: "{job}/{seed}.png"}
"""


def environment(**changes):
    env = dict(os.environ)
    env.pop("LITHO_CONNECT", None)
    env["LITHO_MODELS"] = os.path.join(SOURCE, "models")
    env["XDG_CACHE_HOME"] = CACHE.name
    env["OMP_NUM_THREADS"] = "1"
    env["LSAN_OPTIONS"] = "print_suppressions=0:suppressions=" + os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "lsan.supp")
    env.update(changes)
    return env


def wait_until(condition, what, seconds=DEADLINE):
    """Looks again and again until condition() is true, and returns its value."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (seconds, what))
        pause.wait(0.01)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def pictures(folder):
    """{relative path: SHA-256} of every PNG below a folder, the state folder left out."""
    found = {}
    for place, folders, files in os.walk(folder):
        if ".litho" in folders:
            folders.remove(".litho")
        for name in files:
            if name.endswith(".png"):
                path = os.path.join(place, name)
                found[os.path.relpath(path, folder)] = sha256(path)
    return found


def index_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def png_chunks(data):
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise AssertionError("no PNG")
    at, chunks = 8, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        (crc,) = struct.unpack(">I", data[at + 8 + size:at + 12 + size])
        if zlib.crc32(kind + body) != crc:
            raise AssertionError("wrong CRC in %r" % kind)
        chunks.append((kind, body))
        at += 12 + size
    return chunks


def png_write(chunks):
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


def png_texts(path):
    """{key: text} of tEXt and iTXt chunks, in the file's order."""
    texts = {}
    with open(path, "rb") as file:
        chunks = png_chunks(file.read())
    for kind, body in chunks:
        if kind == b"tEXt":
            key, text = body.split(b"\0", 1)
            texts[key.decode("latin-1")] = text.decode("latin-1")
        elif kind == b"iTXt":
            key, rest = body.split(b"\0", 1)
            compressed, rest = rest[0], rest[2:]
            _, _, text = rest.split(b"\0", 2)
            texts[key.decode("latin-1")] = (
                zlib.decompress(text) if compressed else text).decode("utf-8")
    return texts


class Program:
    """One of ours, running in the background, its output kept in a file."""

    def __init__(self, case, name, *args, **changes):
        self.log = os.path.join(case.folder, "%s-%d.log" % (name, len(case.programs)))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([os.path.join(BIN, name), *args], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=case.folder, env=environment(**changes))
        case.programs.append(self)

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait(self):
        return self.process.wait(DEADLINE)

    def stop(self):
        """Ends it in good order; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait()


class Case(unittest.TestCase):
    """A test with a folder of its own, and the programs it started."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="litho-smoke-")
        self.programs = []

    def tearDown(self):
        for program in self.programs:
            if program.process.poll() is None:
                program.kill()
        logs = [program.log for program in self.programs]
        for place, _, files in os.walk(self.folder):
            logs += [os.path.join(place, name) for name in files
                     if name.endswith(".log") and place.endswith("logs")]
        complaints = ""
        for log in logs:
            with open(log, encoding="utf-8", errors="replace") as file:
                text = file.read()
            if re.search(r"Sanitizer|runtime error:", text):
                complaints += "%s:\n%s\n" % (log, text)
        shutil.rmtree(self.folder, ignore_errors=True)
        if complaints:
            self.fail("sanitizers complain in " + complaints)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def litho(self, *args, expect=0, **changes):
        """Runs a command to its end; checks the exit code."""
        done = subprocess.run([os.path.join(BIN, "litho"), *args], cwd=self.folder,
                              env=environment(**changes), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=DEADLINE)
        self.assertEqual(done.returncode, expect, "litho %s\n%s%s" %
                         (" ".join(args), done.stdout, done.stderr))
        self.assertNotRegex(done.stderr, r"Sanitizer|runtime error:")
        return done

    def litho_json(self, *args, expect=0, **changes):
        """The same with --json; the documents it printed, one a line."""
        done = self.litho(*args, "--json", expect=expect, **changes)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def coordinator(self, state="state", out="out", listen=None, *more):
        listen = listen or "ipc://" + self.path("socket")
        program = Program(self, "litho-coordinator", "--listen", listen, "--state",
                          self.path(state), "--out", self.path(out), *more)
        endpoint = self.path(state, "endpoint")

        def listening():
            if program.process.poll() is not None:
                raise AssertionError("the coordinator ended:\n" + program.text())
            return "listening" in program.text() and os.path.exists(endpoint)
        wait_until(listening, "the coordinator listens")
        with open(endpoint, encoding="utf-8") as file:
            program.endpoint = file.read().strip()
        return program

    def worker(self, endpoint, name):
        return Program(self, "litho-worker", "--connect", endpoint, "--name", name, "--threads",
                       "1")

    def status(self, endpoint, job):
        return self.litho_json("status", job, "--connect", endpoint)[0]


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


def children(pid):
    """Process ids of the children, by what the kernel says."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, encoding="utf-8") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            with open("/proc/%s/cmdline" % name, "rb") as file:
                command = file.read().split(b"\0")[0].decode()
        except (OSError, IndexError):
            continue  # it ended meanwhile
        if parent == pid:
            found.append((int(name), os.path.basename(command)))
    return found


def main():
    unittest.main(verbosity=2)


SIGINT, SIGKILL, SIGSTOP, SIGTERM = signal.SIGINT, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM
