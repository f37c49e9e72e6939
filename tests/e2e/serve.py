"""A running server for tests: starts `crossrank serve` on a free port, talks
to it with nothing but the standard library, and stops it."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import threading
from typing import NamedTuple


def free_port():
    """For programs that must be told one; it may be taken by others."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Answer(NamedTuple):
    status: int
    headers: dict  # names in lower case
    data: bytes

    @property
    def json(self):
        return json.loads(self.data)


class Server:
    """options: max_documents=10 becomes --max-documents 10. Its log is read
    from the time on that the event read_log_after is set."""

    def __init__(self, program, slower=1, environment=None,
                 read_log_after=None, through=(), **options):
        command = [*through, program, "serve", "--port", "0"]
        for name, value in options.items():
            text = str(value).lower() if isinstance(value, bool) else value
            command += ["--" + name.replace("_", "-"), str(text)]
        self.slower = slower
        self.read_log_after = read_log_after
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment)
        self.errors = []
        self.reader = threading.Thread(target=self.read_errors, daemon=True)
        self.reader.start()
        # A server that never says it is ready must not hold the tests.
        watch = threading.Timer(60 * slower, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        watch.cancel()
        if not line:
            self.process.wait()
            self.reader.join()
            raise RuntimeError("no server: " + self.log)
        self.address = json.loads(line)["http"]
        self.grpc_address = json.loads(line).get("grpc")
        if not self.address.startswith("unix:"):
            host, port = self.address.removeprefix("http://").split(":")
            self.host, self.port = host, int(port)

    def read_errors(self):
        if self.read_log_after:
            self.read_log_after.wait()
        for line in self.process.stderr:
            self.errors.append(line.decode())

    @property
    def log(self):
        return "".join(self.errors)

    def connect(self, seconds=60):
        return http.client.HTTPConnection(self.host, self.port,
                                          timeout=seconds * self.slower)

    def socket(self, seconds=60):
        return socket.create_connection((self.host, self.port),
                                        timeout=seconds * self.slower)

    def ask(self, method, path, body=None, headers=None, connection=None):
        """body: bytes as they are, anything else as JSON."""
        own = connection is None
        connection = connection or self.connect()
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            got = connection.getresponse()
            data = got.read()
        finally:
            if own:
                connection.close()
        return Answer(got.status,
                      {k.lower(): v for k, v in got.getheaders()}, data)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body,
                        {k.replace("_", "-"): v for k, v in headers.items()})

    def get(self, path):
        return self.ask("GET", path)

    def stats(self):
        return self.get("/stats").json

    def raw(self, data, seconds=60):
        """All that comes back for these bytes until the server closes."""
        with self.socket(seconds) as s:
            with contextlib.suppress(OSError):
                s.sendall(data)
            parts = []
            with contextlib.suppress(ConnectionResetError):
                while part := s.recv(65536):
                    parts.append(part)
        return b"".join(parts)

    def stop(self, number=signal.SIGTERM, seconds=60):
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(seconds * self.slower)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.reader.join()
            self.process.stdout.close()
            self.process.stderr.close()
        return self.process.returncode


def words(n, seed=1):
    """A text of n words that are one token each."""
    some = "air water stone house river green fast light wing metal".split()
    return " ".join(some[(i * seed + i // 7) % len(some)] for i in range(n))
