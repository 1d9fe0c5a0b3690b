"""What the machine permits: a network of our own that can go dark, a small disk, a slow disk.

Each is tried, not guessed: `Ground` says what it found, and a blow that needs what is not permitted
is never dealt.
"""
import os
import subprocess
import sys

INSIDE = "LITHO_CHAOS_INSIDE"
CGROUP = "/sys/fs/cgroup/blkio"


def quiet(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def enter():
    """Starts this program once more in namespaces of its own, where that is permitted."""
    apart = ("unshare", "--net", "--mount")
    if INSIDE in os.environ:
        return
    try:
        permitted = quiet(*apart, "true")
    except FileNotFoundError:
        permitted = False
    os.environ[INSIDE] = "yes" if permitted else "no"
    if permitted:
        os.execvp(apart[0], [*apart, sys.executable, *sys.argv])


class Ground:
    def __init__(self, folder):
        self.own_network = os.environ.get(INSIDE) == "yes" and self.light(True)
        self.disk = os.path.join(folder, "disk")
        os.mkdir(self.disk)
        self.small_disk = quiet("mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", self.disk)
        if self.small_disk:
            quiet("umount", self.disk)
        self.group = os.path.join(CGROUP, "litho-chaos-%d" % os.getpid())
        self.slow_disk = self.can_slow(folder)

    def __str__(self):
        found = [name for name, there in (
            ("a network namespace (dark)", self.own_network), ("a tmpfs (full)", self.small_disk),
            ("blkio throttling (slow)", self.slow_disk)) if there]
        return "links through a cutting proxy; permitted: " + (", ".join(found) or "no more")

    # --- network ---

    @staticmethod
    def light(on):
        """All links at once, without a word to either end: loopback itself goes away."""
        return quiet("ip", "link", "set", "lo", "up" if on else "down")

    # --- a small disk ---

    def mount(self):
        if not quiet("mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", self.disk):
            raise AssertionError("the small disk cannot be mounted any more")

    def unmount(self):
        quiet("umount", "--lazy", self.disk)

    def fill(self):
        with open(os.path.join(self.disk, "ballast"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def make_room(self):
        os.unlink(os.path.join(self.disk, "ballast"))

    # --- a slow disk ---

    def can_slow(self, folder):
        device = os.stat(folder).st_dev
        self.device = "%d:%d" % (os.major(device), os.minor(device))
        try:
            os.mkdir(self.group)
            self.slow(100000)
            self.slow(0)
            return True
        except OSError:
            return False

    def slow(self, writes):
        """At most so many writes a second, of the processes that were put in; 0: as fast as can."""
        with open(os.path.join(self.group, "blkio.throttle.write_iops_device"), "w",
                  encoding="ascii") as file:
            file.write("%s %d" % (self.device, writes))

    def put_in(self, pid):
        if self.slow_disk:
            with open(os.path.join(self.group, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(pid))

    def leave(self):
        if os.path.isdir(self.group):
            os.rmdir(self.group)
