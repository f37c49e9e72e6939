"""The dashboard in a real browser, and what the server does for it: files,
the stream of statistics, keys. Screenshots go to the build folder."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import threading
import time

import pytest

from serve import Server, words

HTML = {"Accept": "text/html,application/xhtml+xml"}


def rerank(n):
    return {"query": "how does air flow over a wing",
            "texts": [words(8 + i, i + 1) for i in range(n)]}


@pytest.fixture
def start(build, slower):
    servers = []

    def start_one(**options):
        servers.append(Server(build / "crossrank", slower, **options))
        return servers[-1]

    yield start_one
    for server in servers:
        assert server.stop() == 0, server.log


class Page:
    """One page of a Chromium, driven by tests/browser/drive.js."""

    def __init__(self, root, chromium):
        self.process = subprocess.Popen(
            ["node", root / "tests/browser/drive.js",
             root / ".cache/browser/node_modules", chromium],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.read() == {"ready": True}

    def read(self):
        line = self.process.stdout.readline()
        assert line, "the browser is gone"
        return json.loads(line)

    def do(self, what, **more):
        self.process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def open(self, url, width=1280, height=900, scheme="light"):
        self.do("open", url=url, width=width, height=height, scheme=scheme)

    def text(self, name):
        return self.do("run",
                       code=f"document.getElementById('{name}').textContent")

    def wait_for(self, name, text):
        self.do("until", code=f"document.getElementById('{name}')"
                              f".textContent === {json.dumps(text)}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def page(root):
    chromium = shutil.which("chromium")
    if not chromium or not shutil.which("node"):
        pytest.skip("no Chromium or node: apt install chromium nodejs")
    if not (root / ".cache/browser/pins").exists():
        pytest.skip("tests/browser's packages are not installed: ./run check "
                    "does it, with a network")
    one = Page(root, chromium)
    yield one
    one.close()


@pytest.fixture
def shots(build):
    folder = build / "dashboard"
    folder.mkdir(exist_ok=True)
    return folder


class Load:
    """Requests from `n` clients until it is left."""

    def __init__(self, server, n=2):
        self.server, self.stop = server, False
        self.threads = [threading.Thread(target=self.run, args=(i,))
                        for i in range(n)]

    def run(self, i):
        while not self.stop:
            assert self.server.post("/rerank", rerank(4 + i)).status == 200

    def __enter__(self):
        for t in self.threads:
            t.start()

    def __exit__(self, *_):
        self.stop = True
        for t in self.threads:
            t.join()


# ---- The server -------------------------------------------------------------


def test_files(start):
    s = start()
    page = s.ask("GET", "/", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert s.get("/").json == {"status": "ok"}  # no browser: health
    for path in ("/", "/dashboard.css", "/dashboard.js", "/dashboard-chart.js"):
        got = s.ask("GET", path, headers=HTML)
        assert got.status == 200, path
        policy = got.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        again = s.ask("GET", path, headers={
            **HTML, "If-None-Match": got.headers["etag"]})
        assert (again.status, again.data) == (304, b""), path
    assert b"http://" not in page.data and b"https://" not in page.data


def test_stream(start):
    s = start()
    with contextlib.closing(s.connect()) as connection:
        connection.request("GET", "/stats/stream")
        got = connection.getresponse()
        assert got.getheader("Content-Type") == "text/event-stream"
        for _ in range(2):
            line = got.readline()
            assert line.startswith(b"data: ")
            event = json.loads(line[6:])
            assert got.readline() == b"\n"
            assert len(event["history"]["rows"]) == 1
            assert event["requests_in_flight"] == 0
    while s.stats()["connections"] > 1:  # it sees that at the next event
        time.sleep(0.05)
    many = [s.connect() for _ in range(17)]
    try:
        codes = []
        for c in many:
            c.request("GET", "/stats/stream")
            codes.append(c.getresponse().status)
        assert codes == [200] * 16 + [429]
        begun = time.monotonic()
        assert s.stop() == 0  # with streams open
        assert time.monotonic() - begun < 5 * s.slower
    finally:
        for c in many:
            c.close()


def test_stats_say_how_many_rows(start):
    s = start()
    time.sleep(1.8)
    stats = s.get("/stats?rows=2").json
    rows, columns = stats["history"]["rows"], stats["history"]["columns"]
    assert len(rows) == 2 and all(len(r) == len(columns) for r in rows)
    assert len(stats["busy_s_by_lane"]) == stats["lanes"]
    assert rows[0][columns.index("request_ms")] is None  # nothing happened


# ---- The page ---------------------------------------------------------------


def shown(value):
    """As the page writes it."""
    digits = 0 if value == int(value) or value >= 100 else \
        1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def test_page(start, page, shots):
    s = start(port=0)
    page.open(s.address + "/")
    page.wait_for("state", "Idle")
    assert page.text("pairs") == "0 pairs"
    assert page.text("latency-now") == "n/a"
    assert page.text("gpu-memory") == "n/a"
    page.do("shot", path=str(shots / "desktop-light-idle.png"))

    with Load(s):
        page.wait_for("state", "Running")
        page.do("until", code="rows.filter(r => column(r, 'pairs_per_s') > 0)"
                              ".length > 3")
        drawn = "JSON.stringify(charts[0].chart.data.datasets[0].data)"
        before = page.do("run", code=drawn)
        page.do("until", code=f"{drawn}.length > {len(before)}")
        page.do("shot", path=str(shots / "desktop-light-load.png"))
    page.wait_for("state", "Idle")

    # Values are those of /stats, which have come to rest.
    stats = s.stats()
    want = {"pairs": shown(stats["pairs"]) + " pairs",
            "queries": shown(stats["request_ms"]["count"]),
            "latency-mean": shown(stats["request_ms"]["mean"]) + " ms",
            "latency-p50": shown(stats["request_ms"]["p50"]) + " ms",
            "latency-p95": shown(stats["request_ms"]["p95"]) + " ms",
            "latency-p99": shown(stats["request_ms"]["p99"]) + " ms",
            "wait-p95": shown(stats["queue_wait_ms"]["p95"]) + " ms",
            "tokenization": shown(stats["tokenization_ms"]["mean"]) + "ms",
            "inference": shown(stats["inference_ms"]["mean"]) + "ms",
            "batch": shown(stats["batch_pairs"]["mean"]) + "pairs",
            "padding": "0%"}
    assert {name: page.text(name) for name in want} == want

    rows = page.do("download", at="#csv").splitlines()
    assert rows[0].split(",") == stats["history"]["columns"]
    assert len(rows) > 4

    page.do("click", at="#pause")
    held = page.text("pairs")
    s.post("/rerank", rerank(3))
    time.sleep(1.2)
    assert page.text("pairs") == held
    page.do("click", at="#pause")
    assert page.text("pairs") != held
    assert page.do("complaints") == []


def test_try_it(start, page, shots, tmp_path):
    s = start()
    page.open(s.address + "/", 390, 844, "dark")
    page.wait_for("state", "Idle")
    passages = ["it's a \"quote\"", "air flows over a wing", words(900)]
    page.do("type", at="#query", text="what flows over a wing")
    page.do("type", at="#passages", text="\n".join(passages))
    page.do("click", at="#rank")
    page.do("until", code="document.querySelectorAll('#rows tr').length === 3")
    cells = page.do("run", code="[...document.querySelectorAll('#rows tr')]"
                                ".map(r => [...r.cells]"
                                ".map(c => c.textContent))")
    assert cells[0][4] == passages[1]
    assert [c[3] for c in cells if c[4] == passages[2]] == ["yes"]
    # The line that does the same does the same.
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", page.text("curl")],
                              capture_output=True, check=True, timeout=30)
        results = json.loads(done.stdout)["results"]
        assert [passages[r["index"]] for r in results] == [
            c[4] for c in cells]
        assert [float(c[1]) for c in cells] == [
            float(f"{r['relevance_score']:.4g}") for r in results]
        assert [int(c[2]) for c in cells] == [r["tokens"] for r in results]
    wide = page.do("run", code="document.documentElement.scrollWidth")
    assert wide <= 390  # nothing hangs over on a phone
    page.do("shot", path=str(shots / "phone-dark.png"))
    assert page.do("axe") == []
    page.do("click", at="#theme")
    assert page.do("axe") == []
    page.do("shot", path=str(shots / "phone-light.png"))
    assert page.do("complaints") == []


def test_reconnects(start, page):
    s = start()
    page.open(s.address + "/")
    s.post("/rerank", rerank(3))
    page.wait_for("pairs", "3 pairs")
    s.stop()
    page.wait_for("state", "Disconnected")
    again = start(port=s.port)
    page.wait_for("state", "Idle")
    page.wait_for("pairs", "0 pairs")
    again.post("/rerank", rerank(2))
    page.wait_for("pairs", "2 pairs")
    assert all("ERR_" in text for text in page.do("complaints"))


def test_key(start, page, shots, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("ann " + hashlib.sha256(b"s3cret").hexdigest() + "\n")
    s = start(api_keys_file=keys)
    assert s.ask("GET", "/", headers=HTML).status == 200
    assert s.get("/stats/stream").status == 401
    page.open(s.address + "/", scheme="dark")
    page.wait_for("state", "Key needed")
    page.do("type", at="#key", text="wrong")
    page.do("press", key="Enter")
    page.wait_for("key-error", "The server does not know this key.")
    page.do("type", at="#key", text="s3cret")
    page.do("press", key="Enter")
    page.wait_for("state", "Idle")
    page.do("click", at="#rank")
    page.do("until", code="document.querySelectorAll('#rows tr').length === 4")
    # The key is nowhere but in the tab's store.
    assert "s3cret" not in page.do("run", code="document.documentElement"
                                               ".outerHTML + location.href")
    assert page.do("run", code="localStorage.getItem('crossrank-key')") is None
    page.do("shot", path=str(shots / "desktop-dark-key.png"))
    assert all("401" in text for text in page.do("complaints"))
