"""deploy/: Prometheus' configuration and rules, and every query of Grafana's
dashboard, against a real Prometheus that scrapes a real server under load."""

import json
import math
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from serve import Server, free_port, words

LEAST_SECONDS = 3  # of load, and the window of every rate


@pytest.fixture(scope="module")
def tools(root):
    """Paths of prometheus and promtool."""
    unpacked = root / ".cache/prometheus/usr/bin"
    found = [shutil.which(name) or shutil.which(name, path=unpacked)
             for name in ("prometheus", "promtool")]
    if not all(found):
        pytest.skip("no prometheus or promtool: ./run check unpacks Debian's "
                    "package, with a network")
    return found


@pytest.fixture(scope="module")
def dashboard(root):
    return json.loads((root / "deploy/grafana/crossrank.json").read_text())


def test_configuration_and_rules(root, tools):
    for what in ("config", "rules"):
        name = "prometheus.yml" if what == "config" else "alerts.yml"
        done = subprocess.run(
            [tools[1], "check", what, root / "deploy/prometheus" / name],
            capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        assert "SUCCESS" in done.stdout


class Prometheus:
    def __init__(self, root, program, folder, target):
        text = (root / "deploy/prometheus/prometheus.yml").read_text()
        for old, new in (("127.0.0.1:8080", target), ("5s", "250ms"),
                         ("15s", "1s")):
            assert old in text
            text = text.replace(old, new, 1)
        (folder / "prometheus.yml").write_text(text)
        shutil.copy(root / "deploy/prometheus/alerts.yml", folder)
        self.address = f"http://127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [program, f"--config.file={folder / 'prometheus.yml'}",
             f"--storage.tsdb.path={folder / 'data'}",
             "--web.listen-address=" + self.address.removeprefix("http://")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def get(self, path, **arguments):
        url = f"{self.address}/api/v1/{path}?" + \
            urllib.parse.urlencode(arguments)
        with urllib.request.urlopen(url, timeout=10) as got:
            return json.load(got)["data"]

    def value(self, query):
        """Its values now, NaN left out."""
        values = [float(r["value"][1])
                  for r in self.get("query", query=query)["result"]]
        return [v for v in values if not math.isnan(v)]

    def wait_for(self, query, seconds=20):
        end = time.monotonic() + seconds
        while True:
            try:
                if self.value(query):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            assert time.monotonic() < end, f"nothing for {query}"
            time.sleep(0.1)

    def close(self):
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def prometheus(root, tools, build, slower, tmp_path_factory):
    """One that has scraped a server under load, which goes on."""
    server = Server(build / "crossrank", slower)
    one = Prometheus(root, tools[0], tmp_path_factory.mktemp("prometheus"),
                     server.address.removeprefix("http://"))
    stop = threading.Event()

    def load():
        while not stop.is_set():
            server.post("/rerank", {"query": "air over a wing", "texts": [
                words(10 + i, i + 1) for i in range(4)]})

    threads = [threading.Thread(target=load) for _ in range(2)]
    try:
        for t in threads:
            t.start()
        one.wait_for("crossrank_pairs_total > 0")
        time.sleep(LEAST_SECONDS)
        yield one
    finally:
        stop.set()
        for t in threads:
            t.join()
        one.close()
        assert server.stop() == 0


# What a unit says of the query behind it, and of its value here.
UNITS = {
    "s": ("_seconds", 0, 20),
    "bytes": ("_bytes", 10 << 20, 8 << 30),
    "percentunit": ("/", 0, 1.25),  # lanes' time is counted at a group's end
    "reqps": ("rate(", 0, 1e5),
    "short": ("sum(", 0, 1e4),
    "suffix: pairs/s": ("rate(crossrank_pairs_total", 1, 1e6),
    "suffix: tokens/s": ("rate(crossrank_tokens_total", 0, 1e8),
    "suffix: pairs": ("_pairs", 0, 1e4),
    "suffix: cores": ("rate(crossrank_cpu_seconds_total", 0.05, 512),
}


def test_every_panel_has_data(prometheus, dashboard):
    for panel in dashboard["panels"]:
        about, least, most = UNITS[panel["fieldConfig"]["defaults"]["unit"]]
        for target in panel["targets"]:
            query = target["expr"].replace("$instance", ".*").replace(
                "$__rate_interval", f"{LEAST_SECONDS}s")
            assert about in query, panel["title"]
            values = prometheus.value(query)
            assert values, f"{panel['title']}: no data for {query}"
            assert all(least <= v <= most for v in values), \
                (panel["title"], values)


def test_figures_are_those_of_the_server(prometheus):
    window = f"[{LEAST_SECONDS}s]"
    pairs, = prometheus.value(f"sum(rate(crossrank_pairs_total{window}))")
    requests, = prometheus.value(
        f"sum(rate(crossrank_requests_total{window}))")
    assert pairs == pytest.approx(4 * requests, rel=0.5)


def test_rules_are_evaluated(prometheus):
    rules = prometheus.get("rules")["groups"][0]["rules"]
    assert len(rules) >= 7
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert {rule["state"] for rule in rules} == {"inactive"}
