"""HAProxy for tests: runs deploy/haproxy/haproxy.cfg as it ships but for what
belongs to a machine (ports, sockets, certificate, how often it checks), and
replicas that misbehave on purpose. Answers say in X-Replica whose they are:
HAProxy's log on standard output loses a line where two threads write at once,
so it is for reading alone."""

import csv
import http.client
import http.server
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ROOT / "deploy/haproxy/haproxy.cfg"


def find_haproxy():
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:"
                           "/usr/bin:/usr/local/bin")
    if not program:
        pytest.skip("no haproxy: apt-get install haproxy")
    return program


def make_certificate(folder):
    """One for 127.0.0.1 and localhost as docs/SCALE.md makes it: the file for
    HAProxy, and the certificate alone, for clients."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl: apt-get install openssl")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,"
         "IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True)
    both = folder / "crossrank.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both, certificate


def listening_socket():
    s = socket.create_server(("127.0.0.1", 0), backlog=1024)
    s.set_inheritable(True)
    return s


class Proxy:
    """replicas: (address of HTTP, address of gRPC) of each, as HOST:PORT.
    check_ms: how often each is asked whether it is ready; None: as it ships."""

    def __init__(self, folder, replicas, certificate, slower=1, check_ms=100):
        self.check_ms = check_ms
        self.slower, self.admin = slower, folder / "admin.sock"
        self.replicas = replicas
        sockets = {name: listening_socket()
                   for name in ("tls", "plain", "figures")}
        self.ports = {name: s.getsockname()[1] for name, s in sockets.items()}
        fds = {name: s.fileno() for name, s in sockets.items()}
        self.config = folder / "haproxy.cfg"
        self.config.write_text(self.adapt(fds, certificate))
        self.log_path = folder / "haproxy.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [find_haproxy(), "-db", "-f", self.config], stdout=log,
                stderr=subprocess.STDOUT, pass_fds=fds.values())
        for s in sockets.values():
            s.close()
        self.wait_for(self.listens)

    def adapt(self, fds, certificate):
        text = CONFIG.read_text()

        def put(pattern, new):
            nonlocal text
            text, n = re.subn(pattern, new, text, flags=re.MULTILINE)
            assert n > 0, f"{CONFIG} has nothing like {pattern}"

        put(r"^    (user|group) haproxy\n", "")
        put(r"log /dev/log local0", "log stdout format raw local0")
        put(r"stats socket \S+ mode 660", f"stats socket {self.admin}")
        put(r"bind :443 ssl crt \S+", f"bind fd@{fds['tls']} ssl crt "
            f"{certificate}")
        put(r"bind 127.0.0.1:8080", f"bind fd@{fds['plain']}")
        put(r"bind 127.0.0.1:8405", f"bind fd@{fds['figures']}")
        if self.check_ms:
            put(r"inter 1s fastinter 250ms downinter 1s",
                f"inter {self.check_ms}ms")
        put(r"^backend (rest|grpc)\n", r"backend \1\n"
            "    http-response set-header X-Replica %s\n")
        put(r"^    server replica1 127.0.0.1:8081 check\n(    server .*\n)*",
            "".join(f"    server replica{i} {rest} check\n"
                    for i, (rest, _) in enumerate(self.replicas, 1)))
        put(r"^    server replica1 127.0.0.1:50081 proto h2 track "
            r"rest/replica1\n(    server .*\n)*",
            "".join(f"    server replica{i} {grpc} proto h2 "
                    f"track rest/replica{i}\n"
                    for i, (_, grpc) in enumerate(self.replicas, 1)))
        return text

    def wait_for(self, condition, seconds=20):
        end = time.monotonic() + seconds * self.slower
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("not as expected: " + self.log)
            time.sleep(0.01)

    def listens(self):
        """The file of its socket is there before anybody listens on it."""
        try:
            return self.tell("show version") != ""
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def tell(self, command):
        """The answer of HAProxy's own socket."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.admin))
            s.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: s.recv(65536), b"")).decode()

    def figures(self, backend="rest"):
        """{server: its row of figures}"""
        text = self.tell("show stat").removeprefix("# ")
        return {row["svname"]: row for row in csv.DictReader(
            text.splitlines()) if row["pxname"] == backend
            and row["svname"].startswith("replica")}

    def states(self):
        return [row["status"] for row in self.figures().values()]

    def wait_until_up(self):
        self.wait_for(lambda: set(self.states()) == {"UP"})

    def connect(self, seconds=60):
        return http.client.HTTPConnection("127.0.0.1", self.ports["plain"],
                                          timeout=seconds * self.slower)

    def close(self):
        self.process.kill()  # SIGTERM would cut off what is under way as well
        self.process.wait()


class Fake(http.server.ThreadingHTTPServer):
    """A replica that is ready and does to every request what `mode` says: a
    status, "close" or "reset" without an answer, "half" an answer, "slow"."""

    daemon_threads = True

    def __init__(self, mode):
        super().__init__(("127.0.0.1", 0), FakeHandler)
        self.mode, self.asked = mode, []
        self.address = f"127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True,
                                       kwargs={"poll_interval": 0.02})
        self.thread.start()

    def handle_error(self, request, client_address):
        pass  # peers that go are what this is about

    def close(self):
        self.shutdown()  # at once where that was done before
        self.thread.join()
        self.server_close()


class FakeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, promised=None):
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(promised or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, b"ready")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.headers)
        mode = self.server.mode
        self.close_connection = mode in ("close", "reset", "half")
        if mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack("ii", 1, 0))
            self.connection.close()
        elif mode == "half":
            self.answer(200, b'[{"index":', promised=1000)
        elif mode == "slow":
            time.sleep(0.3)
            self.answer(200, b"[]")
        elif mode != "close":
            self.answer(mode, b'{"error":"Overloaded"}')
