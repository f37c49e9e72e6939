"""crossrank pull against a Hub of this machine that serves real files over
HTTP, and breaks off, lies, redirects, refuses and asks to wait; and models by
the Hub's names, in the cache that pull filled."""

import hashlib
import http.server
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.parse
from email.utils import formatdate

import pytest

REPO = "some-org/tiny-reranker"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = ["config.json", "vocab.txt", "tokenizer_config.json",
         "model.safetensors"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """What it does wrong is in `faults`: {file: [fault, ...]}, each used up by
    one GET of that file."""

    def __init__(self, folder):
        self.files = {p.name: p.read_bytes() for p in folder.iterdir()}
        self.faults, self.asked, self.token = {}, [], None
        self.elsewhere = None  # address of what large files are sent to
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                hub.answer(self, False)

            def do_GET(self):
                hub.answer(self, True)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                                      Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever,
                         daemon=True).start()

    def send(self, to, status, headers=(), body=b"", with_body=True):
        to.send_response(status)
        for name, value in headers:
            to.send_header(name, value)
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        if with_body:
            to.wfile.write(body)

    def answer(self, to, get):
        path = urllib.parse.unquote(to.path)
        self.asked.append((to.command, path, to.headers.get("Range"),
                           to.headers.get("Authorization")))
        elsewhere = path.startswith("/cdn/")
        if self.token and not elsewhere and \
                to.headers.get("Authorization") != f"Bearer {self.token}":
            return self.send(to, 401, body=b"{}", with_body=get)
        if path.startswith(f"/api/models/{REPO}/revision/"):
            if not path.endswith(("/main", "/v2", COMMIT)):
                return self.send(to, 404)
            names = ",".join(f'{{"rfilename":"{n}"}}' for n in self.files)
            return self.send(
                to, 200, body=f'{{"sha":"{COMMIT}","siblings":[{names}]}}'
                .encode())
        name = path.rpartition("/")[2]
        if name not in self.files or not elsewhere and \
                path != f"/{REPO}/resolve/{COMMIT}/{name}":
            return self.send(to, 404, with_body=get)
        data = self.files[name]
        fault = None
        if get and self.faults.get(name):
            fault = self.faults[name].pop(0)
        if fault and fault[0] == "status":
            return self.send(to, fault[1], fault[2:])
        if name == "model.safetensors" and not elsewhere:
            return self.send(to, 302, [
                ("Location", f"{self.elsewhere or self.url}/cdn/{name}"),
                ("X-Linked-ETag", f'"{sha256(data)}"'),
                ("X-Linked-Size", str(len(data)))], with_body=get)
        if elsewhere and not get:
            return self.send(to, 403, with_body=False)
        tag = [("ETag", f'"{git_sha1(data)}"')] * (not elsewhere)
        self.send_file(to, data, tag, fault, get)

    def send_file(self, to, data, tag, fault, get):
        begin, status = 0, 200
        asked = to.headers.get("Range")
        if asked and not (fault and fault[0] == "no-range"):
            begin, status = int(asked[6:-1]), 206
        if begin and begin >= len(data):
            return self.send(to, 416, [("Content-Range",
                                        f"bytes */{len(data)}")])
        if fault and fault[0] == "damage":
            data = bytes([data[0] ^ 1]) + data[1:]
        to.send_response(status)
        for header in tag:
            to.send_header(*header)
        to.send_header("Content-Length", str(len(data) - begin))
        to.end_headers()
        if not get:
            return
        end = len(data)
        if fault and fault[0] == "break":
            end = begin + (len(data) - begin) // 2
        to.wfile.write(data[begin:end])
        if end < len(data) or fault and fault[0] == "hang":
            if fault[0] == "hang":
                time.sleep(fault[1])
            to.close_connection = True


@pytest.fixture
def hub(tiny_model):
    served = Hub(tiny_model)
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "home" / "hub"


@pytest.fixture
def pull(build, hub, cache, slower):
    def run(*arguments, **more):
        environment = {**os.environ, "HF_ENDPOINT": hub.url,
                       "HF_HOME": str(cache.parent), **more}
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
            if name not in more:
                environment.pop(name, None)
        return subprocess.run([build / "crossrank", "pull", *arguments],
                              env=environment, capture_output=True, text=True,
                              timeout=60 * slower)
    return run


def folder_of(cache):
    return cache / "models--some-org--tiny-reranker"


def check_cache(cache, hub):
    folder = folder_of(cache)
    assert (folder / "refs/main").read_text() == COMMIT
    snapshot = folder / "snapshots" / COMMIT
    for name, data in hub.files.items():
        link = snapshot / name
        if not link.exists():
            continue
        tag = sha256(data) if name == "model.safetensors" else git_sha1(data)
        assert os.readlink(link) == f"../../blobs/{tag}"
        assert link.read_bytes() == data
    assert {"config.json", "model.safetensors"} \
        <= {p.name for p in snapshot.iterdir()}
    assert not list((folder / "blobs").glob("*.incomplete"))
    return snapshot


def test_pull_fills_the_cache(pull, hub, cache, build, crossrank, tiny_model):
    done = pull(REPO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(check_cache(cache, hub))
    # The token goes nowhere, least of all elsewhere, where there is none.
    assert all(a[3] is None for a in hub.asked)
    n = len([a for a in hub.asked if a[0] == "GET"])
    again = pull(REPO)
    assert again.returncode == 0 and "there already" in again.stderr
    # A description, but no file a second time.
    assert len([a for a in hub.asked if a[0] == "GET"]) == n + 1
    environment = {**os.environ, "HF_HUB_CACHE": str(cache)}
    pair = b"a query\ta passage\n"
    by_name, by_folder, by_revision = (
        crossrank("score", *model, "-", stdin=pair, env=environment)
        for model in (["--model", REPO], ["--model", tiny_model],
                      ["--model", REPO, "--revision", COMMIT]))
    assert by_name.returncode == 0, by_name.stderr
    assert by_name.stdout == by_folder.stdout == by_revision.stdout != b""
    told = crossrank("info", "--json", "--model", REPO, env=environment)
    assert f'"name":"{REPO}"'.encode() in told.stdout


def test_what_is_missing_names_the_command(crossrank, cache, build):
    environment = {**os.environ, "HF_HUB_CACHE": str(cache)}
    for arguments, wanted in (
            ([], f"crossrank pull {REPO}"),
            (["--revision", "v2"], f"crossrank pull {REPO} --revision v2")):
        done = crossrank("score", "--model", REPO, *arguments, "-",
                         stdin=b"a\tb\n", env=environment)
        assert done.returncode == 3
        assert wanted in done.stderr.decode()


def test_a_folder_has_no_revision(crossrank, tiny_model):
    done = crossrank("score", "--model", tiny_model, "--revision", "v2", "-",
                     stdin=b"a\tb\n")
    assert done.returncode == 2 and b"revision" in done.stderr


def test_all_that_is_read_is_fetched(root):
    """A file that is not there may mean other scores, such as modules.json,
    without which sentence-transformers' activation is not read."""
    names = set()
    for source in ("src/model/config.c", "src/model/tokenizer_files.c",
                   "src/model/model.c", "src/server/selfcheck.c"):
        names |= set(re.findall(r'"([a-z_]+\.(?:json|txt|safetensors))"',
                                (root / source).read_text()))
    assert {"modules.json", "vocab.txt", "model.safetensors"} <= names
    fetched = (root / "src/cli/pull.c").read_text()
    assert [n for n in names if f'"{n}"' not in fetched] == []


def test_revision(pull, hub, cache):
    done = pull(REPO, "--revision", "v2")
    assert done.returncode == 0, done.stderr
    assert (folder_of(cache) / "refs/v2").read_text() == COMMIT
    assert not (folder_of(cache) / "refs/main").exists()


def test_a_broken_download_goes_on(pull, hub, cache):
    hub.faults["model.safetensors"] = [("none",), ("break",)]
    done = pull(REPO)
    assert done.returncode == 0, done.stderr
    check_cache(cache, hub)
    ranges = [a[2] for a in hub.asked if a[1].startswith("/cdn/")
              and a[0] == "GET"]
    half = len(hub.files["model.safetensors"]) // 2
    assert ranges == [None, f"bytes={half}-"]


def test_a_server_without_ranges_starts_again(pull, hub, cache):
    hub.faults["model.safetensors"] = [("none",), ("break",), ("none",),
                                       ("no-range",)]
    done = pull(REPO)
    assert done.returncode == 0, done.stderr
    check_cache(cache, hub)


def leave_incomplete(cache, hub, data):
    """As a run leaves it that was killed before its check."""
    blobs = folder_of(cache) / "blobs"
    blobs.mkdir(parents=True)
    tag = sha256(hub.files["model.safetensors"])
    (blobs / f"{tag}.incomplete").write_bytes(data)


def test_a_whole_file_that_was_not_checked_yet(pull, hub, cache):
    leave_incomplete(cache, hub, hub.files["model.safetensors"])
    done = pull(REPO)
    assert done.returncode == 0, done.stderr
    check_cache(cache, hub)


def test_too_long_a_leftover_is_refused_once(pull, hub, cache):
    leave_incomplete(cache, hub, hub.files["model.safetensors"] + b"more")
    done = pull(REPO)
    assert done.returncode == 3 and "it was deleted" in done.stderr
    assert pull(REPO).returncode == 0
    check_cache(cache, hub)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_not_kept(pull, hub, cache, name):
    hub.faults[name] = [("none",), ("damage",)] \
        if name == "model.safetensors" else [("damage",)]
    done = pull(REPO)
    assert done.returncode == 3
    assert f"{name} of {REPO} came damaged" in done.stderr
    folder = folder_of(cache)
    assert not (folder / "refs/main").exists()
    assert not (folder / "snapshots" / COMMIT / name).exists()
    assert not list((folder / "blobs").glob("*.incomplete"))
    assert pull(REPO).returncode == 0
    check_cache(cache, hub)


def test_token(pull, hub, cache):
    hub.token = "hf_secret"
    done = pull(REPO)
    assert done.returncode == 3 and "401" in done.stderr \
        and "HF_TOKEN" in done.stderr
    done = pull(REPO, HF_TOKEN="wrong")
    assert done.returncode == 3 and "may not read it" in done.stderr
    done = pull(REPO, HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    assert "hf_secret" not in done.stdout + done.stderr


def test_the_token_does_not_go_elsewhere(pull, hub, cache, tiny_model):
    other = Hub(tiny_model)
    hub.token, hub.elsewhere = "hf_secret", other.url
    try:
        done = pull(REPO, HF_TOKEN="hf_secret")
    finally:
        other.server.shutdown()
        other.server.server_close()
    assert done.returncode == 0, done.stderr
    check_cache(cache, hub)
    assert other.asked and all(a[3] is None for a in other.asked)
    assert all(a[3] == "Bearer hf_secret" for a in hub.asked)


def test_not_found(pull, hub):
    done = pull("some-org/other")
    assert done.returncode == 3 and "404" in done.stderr \
        and "some-org/other" in done.stderr
    done = pull(REPO, "--revision", "none")
    assert done.returncode == 3 and "revision none" in done.stderr


def test_retry_after(pull, hub, cache):
    hub.faults["config.json"] = [("status", 429, ("Retry-After", "1")),
                                 ("status", 503, ("Retry-After", "1"))]
    begin = time.monotonic()
    done = pull(REPO)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin >= 2
    check_cache(cache, hub)


def test_retry_after_as_a_date(pull, hub, cache):
    """One that is to come is waited for; one that is over is no reason to ask
    again at once, nor never."""
    begin = int(time.time())
    hub.faults["config.json"] = [
        ("status", 429, ("Retry-After", formatdate(begin + 3, usegmt=True)))]
    hub.faults["vocab.txt"] = [
        ("status", 503, ("Retry-After", formatdate(0, usegmt=True)))]
    done = pull(REPO)
    assert done.returncode == 0, done.stderr
    assert time.time() >= begin + 3
    check_cache(cache, hub)


def test_interrupt_and_going_on(pull, hub, cache, build, slower):
    hub.faults["model.safetensors"] = [("none",), ("hang", 2)]
    process = subprocess.Popen(
        [build / "crossrank", "pull", REPO], stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "HF_ENDPOINT": hub.url,
             "HF_HUB_CACHE": str(cache)})
    end = time.monotonic() + 20 * slower
    while not any(a[1].startswith("/cdn/") and a[0] == "GET"
                  for a in hub.asked):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30 * slower)
    # It may have been done before the signal.
    assert process.returncode in (130, 0), said
    assert pull(REPO).returncode == 0
    check_cache(cache, hub)


def test_no_hub_there(pull, hub):
    done = pull(REPO, HF_ENDPOINT="file:///etc")
    assert done.returncode == 3


@pytest.mark.parametrize("name", ["a/b/c", "../x", "a b", "a/", "", "-x/y"])
def test_wrong_names(pull, name):
    done = pull("--", name)
    assert done.returncode == 2


def test_library_and_other_commands_open_no_connection(build):
    """libcurl is the program's alone, and only pull's file speaks to it."""
    libraries = sorted(build.glob("libcrossrank.so*"))
    needed = subprocess.run(["readelf", "-d", libraries[0]], check=True,
                            capture_output=True, text=True).stdout
    assert "NEEDED" in needed and "curl" not in needed
    source = pathlib.Path(__file__).resolve().parents[2] / "src"
    users = [p.name for p in source.rglob("*.c") if "curl/" in p.read_text()]
    assert users == ["download.c"]
