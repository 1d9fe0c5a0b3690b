"""A cutting proxy on loopback: the link between one worker and the coordinator.

What it does to a connection that no signal can: `tear` resets it after so many more bytes, in the
middle of a frame; `freeze` keeps it open and lets nothing through, in both directions or in one,
until `thaw`. The coordinator's port may change while the proxy's stays.
"""
import socket
import struct
import threading

UP, DOWN = "up", "down"  # to the coordinator, to the worker


def reset(connection):
    """RST instead of FIN: what was on its way is lost."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)  # wakes the other pump; the RST is the close's
    except OSError:
        pass
    connection.close()


class Link:
    def __init__(self):
        self.port = None  # of the coordinator
        self.frozen = set()
        self.budget = None  # bytes until the connections are torn
        self.change = threading.Condition()
        self.connections = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return  # closed
            try:
                far = socket.create_connection(("127.0.0.1", self.port), 5)
            except OSError:
                reset(near)  # nobody is there, as without a proxy
                continue
            far.settimeout(None)
            for connection in (near, far):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.change:
                self.connections |= {near, far}
            for ends in ((near, far, UP), (far, near, DOWN)):
                threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source, target, way):
        try:
            while True:
                data = source.recv(65536)
                if not data or not self.pass_on(target, data, way):
                    break
        except OSError:
            pass
        for connection in (source, target):
            reset(connection)
        with self.change:
            self.connections -= {source, target}

    def pass_on(self, target, data, way):
        """False: torn, perhaps after a part of data."""
        with self.change:
            self.change.wait_for(lambda: way not in self.frozen)
            torn = self.budget is not None and self.budget <= len(data)
            if torn:
                data = data[:self.budget]
                self.budget = None
            elif self.budget is not None:
                self.budget -= len(data)
        target.sendall(data)
        if torn:
            self.reset_all()
        return not torn

    def reset_all(self):
        with self.change:
            doomed, self.connections = self.connections, set()
            self.budget = None
        for connection in doomed:
            reset(connection)

    def tear(self, after):
        with self.change:
            self.budget = after

    def is_torn(self):
        with self.change:
            return self.budget is None

    def freeze(self, *ways):
        with self.change:
            self.frozen = set(ways)

    def thaw(self):
        with self.change:
            self.frozen = set()
            self.change.notify_all()

    def close(self):
        self.thaw()
        self.listener.close()
        self.reset_all()
