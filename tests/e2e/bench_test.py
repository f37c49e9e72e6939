"""crossrank bench, from the file to the report: a tiny model, few requests.
Figures are recomputed from requests.csv, and what others' labs got wrong is
looked for: sweeps that keep one combination, lists that are ignored,
statistics that are never reset, errors that vanish, data that nobody chose."""

import csv
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from serve import Server

numpy = pytest.importorskip("numpy")

LOAD = "batch_sizes: [2, 3], concurrency_levels: [1, 2], requests: 12"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(
        f"query {i // 5}\tpassage {i} " + "about lakes " * (i % 7) + "\n"
        for i in range(40)))
    return path


@pytest.fixture
def experiment(tmp_path, tiny_model, pairs):
    """experiment(text, load=...) -> its file."""
    def write(text="", load=LOAD, data=pairs):
        path = tmp_path / "x.yaml"
        path.write_text(f"name: x\nmodel: {tiny_model}\nthreads: 1\n{text}\n"
                        f"load: {{{load}, warmup: 3, dataset: {data}}}\n")
        return path
    return write


@pytest.fixture
def bench(tiny, tmp_path):
    """bench(file, ...) -> (what ended, results, rows)."""
    def run(file, *options, code=0, **more):
        out = tmp_path / "out"
        done = tiny("bench", file, "-o", out, *options, **more)
        assert done.returncode == code, done.stderr.decode()
        return done, *read(out)
    return run


def read(folder):
    if not (folder / "results.json").exists():
        return None, None
    with open(folder / "requests.csv") as lines:
        rows = list(csv.DictReader(lines))
    return json.loads((folder / "results.json").read_text()), rows


def of(rows, server, configuration):
    return [row for row in rows if int(row["server"]) == server
            and int(row["configuration"]) == configuration]


def check_figures(results, rows):
    """All that results.json says of requests follows from requests.csv."""
    for server in results["servers"]:
        for c in server["configurations"]:
            own = of(rows, server["id"], c["id"])
            good = [row for row in own if not row["error"]]
            start = min(float(row["start_s"]) for row in own)
            seconds = max(float(row["end_s"]) for row in own) - start
            ms = [float(row["latency_ms"]) for row in good]
            assert c["requests"] == len(own)
            assert c["failed"] == len(own) - len(good)
            assert c["failed"] == sum(c["errors"].values())
            assert c["pairs"] == sum(int(row["pairs"]) for row in good)
            assert c["duration_s"] == pytest.approx(seconds, abs=1e-6)
            for key, value in {
                    "mean": numpy.mean(ms), "std": numpy.std(ms),
                    "p50": numpy.percentile(ms, 50),
                    "p99": numpy.percentile(ms, 99),
                    "p999": numpy.percentile(ms, 99.9)}.items():
                assert c["latency_ms"][key] == pytest.approx(value, abs=1e-4)
            assert c["throughput"]["pairs_per_s"] == pytest.approx(
                c["pairs"] / seconds, rel=1e-5)
            assert c["throughput"]["tokens_per_s"] == pytest.approx(
                sum(int(row["tokens"]) for row in good) / seconds, rel=1e-5)


def test_closed_loop(bench, experiment, tmp_path):
    done, results, rows = bench(experiment())
    assert results["schema"] == "crossrank-results/1"
    [server] = results["servers"]
    # Every combination that was asked for ran, in its order.
    assert [(c["batch_size"], c["concurrency"], c["requests"])
            for c in server["configurations"]] == [
                (2, 1, 12), (2, 2, 12), (3, 1, 12), (3, 2, 12)]
    check_figures(results, rows)
    # Statistics begin anew with each configuration, without the warm-up.
    for c in server["configurations"]:
        assert c["server"]["tokens"]["real"] == sum(
            int(row["tokens"]) for row in of(rows, 0, c["id"]))
    assert server["warmup"]["requests"] == 3
    assert results["accuracy"]["max_abs_diff"] < 0.05
    assert results["accuracy"]["other_scores"] is False
    assert results["accuracy"]["checked_pairs"] == 36  # 12 * 3
    assert results["interrupted"] is False
    text = (tmp_path / "out/report.md").read_text()
    assert len(re.findall(r"^### Config \d+: batch=", text, re.M)) == 4
    html = (tmp_path / "out/report.html").read_text()
    assert "http://" not in re.sub(r"http://(127|www\.w3)", "", html.split(
        "<script", 1)[0])
    assert b"pairs/s" in done.stderr


def test_data_is_counted_as_it_is(bench, experiment, tiny, pairs):
    done, results, rows = bench(
        experiment(load="batch_sizes: [4], requests: 10"))
    lengths = [len(json.loads(line)["ids"]) for line in
               tiny("tokenize", pairs).stdout.splitlines()]
    data = results["dataset"]
    assert data["source"].endswith("pairs.tsv") and not data["synthetic"]
    assert data["tokens"]["min"] == min(lengths)
    assert data["tokens"]["max"] == max(lengths)
    assert data["tokens"]["mean"] == pytest.approx(sum(lengths) / 40)
    assert sum(int(row["tokens"]) for row in rows) == sum(lengths)


def test_synthetic_only_when_asked(bench, experiment):
    done, results, _ = bench(experiment(
        load="requests: 5, batch_sizes: 4", data="synthetic:uniform:20-30"))
    assert results["dataset"]["synthetic"] is True
    assert b"synthetic" in done.stderr
    # A source that is not there is an error, never something else instead.
    done, _, _ = bench(experiment(data="/no/such/pairs.tsv"), code=3)
    assert b"/no/such/pairs.tsv" in done.stderr


def test_open_loop_counts_from_the_due_time(bench, experiment):
    _, results, rows = bench(experiment(
        load="batch_sizes: [2], concurrency_levels: [1], requests: 40, "
             "rate: 200, arrival: fixed"))
    [c] = results["servers"][0]["configurations"]
    assert (c["mode"], c["arrival"], c["rate_per_s"]) == ("open", "fixed", 200)
    check_figures(results, rows)
    rows.sort(key=lambda row: int(row["request"]))
    due = [float(row["scheduled_s"]) for row in rows]
    assert numpy.diff(due) == pytest.approx([1 / 200] * 39)
    for row in rows:
        assert float(row["start_s"]) >= float(row["scheduled_s"])
        assert float(row["latency_ms"]) == pytest.approx(1e3 * (
            float(row["end_s"]) - float(row["scheduled_s"])), abs=1e-4)


def test_poisson_gaps_vary(bench, experiment):
    _, results, rows = bench(experiment(
        load="batch_sizes: [1], concurrency_levels: [4], duration_s: 0.5, "
             "rate: 400"))
    [c] = results["servers"][0]["configurations"]
    assert c["arrival"] == "poisson"
    due = sorted(float(row["scheduled_s"]) for row in rows)
    gaps = numpy.diff(due)
    assert 100 < len(rows) < 400 and due[-1] < 0.5
    assert 0.6 < numpy.std(gaps) / numpy.mean(gaps) < 1.5


def test_a_sweep_keeps_every_combination(bench, experiment, tmp_path):
    _, results, rows = bench(experiment(
        "batching: {timeout_ms: [0, 1], max_batch: [4, 8]}",
        "batch_sizes: [2], requests: 4"))
    assert [s["settings"] for s in results["servers"]] == [
        {"batching.timeout_ms": a, "batching.max_batch": b}
        for a in ("0", "1") for b in ("4", "8")]
    assert {int(row["server"]) for row in rows} == {0, 1, 2, 3}
    assert len({s["url"] for s in results["servers"]}) == 4
    for server in results["servers"]:
        info = server["info"]
        assert str(info["max_batch_requests"]) == \
            server["settings"]["batching.max_batch"]
    check_figures(results, rows)
    text = (tmp_path / "out/report.md").read_text()
    assert text.count("max_batch=4") >= 2
    assert len(re.findall(r"^Server \d \(.*max_batch=\d.*\): max", text,
                          re.M)) == 4


@pytest.mark.parametrize("text, place, words", [
    ("batchin: {enabled: true}", "x.yaml:4:", b"unknown key batchin.enabled: "
                                               b"did you mean batching.enabled"),
    ("dtype: [fp32, fp64]", "", b"fp64"),
    ("sequence_packing: true", "x.yaml:4:1", b"refused"),
    ("threads: 2", "x.yaml:4:1", b"threads is there twice"),
])
def test_faults_of_the_file(bench, experiment, text, place, words):
    done, _, _ = bench(experiment(text, "requests: 2"), code=3)
    assert words in done.stderr and place.encode() in done.stderr


def test_grpc(bench, experiment):
    _, results, rows = bench(experiment(
        load=f"protocol: grpc, {LOAD}"))
    [server] = results["servers"]
    assert (server["protocol"], server["dialect"]) == ("grpc", None)
    assert results["accuracy"]["checked_pairs"] > 10
    assert results["accuracy"]["max_abs_diff"] < 0.01
    for c in server["configurations"]:
        assert c["server"]["tokens"]["real"] == sum(
            int(row["tokens"]) for row in of(rows, 0, c["id"]))
    check_figures(results, rows)


def test_a_window_is_seen_in_the_queue_wait(bench, experiment):
    _, results, _ = bench(experiment(
        "batching: {enabled: true, timeout_ms: [0, 40]}",
        "batch_sizes: [2], requests: 10"))
    waits, busy = [], []
    for server in results["servers"]:
        [c] = server["configurations"]
        stages = c["server"]["stages_ms"]
        waits.append(stages["queue_wait"]["mean"])
        spent = sum(stage["mean"] for stage in stages.values() if stage)
        # No stage counts what another one has counted.
        assert spent <= c["latency_ms"]["mean"] + 0.1
        busy.append(stages["inference"]["mean"])
    assert waits[0] < waits[1] and 35 <= waits[1]
    assert min(busy) > 0


def test_refusals_over_grpc_are_counted(bench, experiment):
    _, results, rows = bench(experiment(
        "max_documents: 2", "protocol: grpc, batch_sizes: [2, 3], "
        "requests: 4"), code=1)
    good, bad = results["servers"][0]["configurations"]
    assert (good["failed"], bad["failed"]) == (0, 4)
    [reason] = bad["errors"]
    assert reason.startswith("gRPC 3: ") and "2" in reason
    assert {row["status"] for row in rows} == {"200"}


def test_grpc_of_a_server_that_runs(build, slower, bench, experiment,
                                    tiny_model):
    file = experiment(load="protocol: grpc, batch_sizes: [2], requests: 6")
    server = Server(build / "crossrank", slower, model=tiny_model, threads=1)
    try:
        done, results, _ = bench(file, "--url", server.address, code=2)
        assert b"--grpc-url" in done.stderr and results is None
        done, results, rows = bench(
            file, "--url", server.address, "--grpc-url",
            "http://" + server.grpc_address)
        check_figures(results, rows)
    finally:
        server.stop()


def test_in_process(bench, experiment):
    _, results, rows = bench(experiment(load="requests: 6, batch_sizes: [4]"),
                             "--in-process")
    [server] = results["servers"]
    assert (server["protocol"], server["url"]) == ("in-process", None)
    assert results["accuracy"]["max_abs_diff"] < 0.1
    check_figures(results, rows)
    _, results, rows = bench(experiment(
        load="requests: 6, mode: tokenization_only, protocol: in-process"))
    assert results["accuracy"] is None
    check_figures(results, rows)
    # Its tokens are the data's own: the scores are right.
    _, results, rows = bench(experiment(
        load="requests: 6, batch_sizes: [4], concurrency_levels: [2], "
             "mode: inference_only, protocol: in-process"))
    assert results["accuracy"]["checked_pairs"] == 24
    assert results["accuracy"]["max_abs_diff"] < 0.05
    assert results["dataset"]["tokens"]["min"] < \
        results["dataset"]["tokens"]["max"]
    check_figures(results, rows)


def test_no_server_at_the_url(bench, experiment):
    done, results, _ = bench(experiment(), "--url", "http://127.0.0.1:9",
                             code=3)
    assert b"127.0.0.1:9" in done.stderr and results is None


class Stranger(http.server.BaseHTTPRequestHandler):
    """A Jina server with scores of its own, every fifth answer a fault."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def log_message(self, *ignored):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(404, {})

    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if self.path != "/v1/rerank":
            return self.answer(404, {})
        Stranger.asked += 1
        if Stranger.asked > 3 and Stranger.asked % 5 == 0:
            return self.answer(500, {"error": "out of luck"})
        n = len(json.loads(body)["documents"])
        return self.answer(200, {"results": [
            {"index": i, "relevance_score": 0.5} for i in reversed(range(n))]})


def test_failures_of_a_stranger_are_counted(bench, experiment, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done, results, rows = bench(
            experiment(load="batch_sizes: [2], requests: 20"), "--url",
            f"http://127.0.0.1:{server.server_port}", "--dialect", "jina",
            code=1)
        server.shutdown()
    [c] = results["servers"][0]["configurations"]
    assert c["failed"] == 4 and c["server"] is None and c["history"] == []
    [(reason, count)] = c["errors"].items()
    assert "500" in reason and "out of luck" in reason and count == 4
    assert b"4 failed" in done.stderr
    check_figures(results, rows)
    # Its scores are not the model's, which the report says.
    assert results["accuracy"]["max_abs_diff"] > 0.001
    text = (tmp_path / "out/report.md").read_text()
    assert "out of luck" in text and "**Other scores:**" in text
    assert b"other scores" in done.stderr
    page = (tmp_path / "out/report.html").read_text()
    assert '"other_scores":true' in page.split('"configurations"')[1]


class Dropping(Stranger):
    """Answers once a connection, and closes it at the second request."""

    answered = False
    dropped = 0

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.answered:
            Dropping.dropped += 1
            self.close_connection = True
        else:
            self.answered = True
            self.answer(200, {"results": [
                {"index": i, "relevance_score": 0.5} for i in range(2)]})


def test_requests_that_were_sent_again_are_told(bench, experiment, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dropping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _, results, _ = bench(
            experiment(load="batch_sizes: [2], requests: 20"),
            "--url", f"http://127.0.0.1:{server.server_port}", "--dialect",
            "jina")
        server.shutdown()
    [c] = results["servers"][0]["configurations"]
    assert c["failed"] == 0
    assert 0 < c["resent"] <= Dropping.dropped  # some in the warm-up
    text = (tmp_path / "out/report.md").read_text()
    assert f"{c['resent']} requests were sent a second time" in text


@pytest.mark.parametrize("dialect", ["tei", "cohere", "jina", "vllm",
                                     "infinity"])
def test_dialects_agree(bench, experiment, build, tiny_model, dialect):
    serve = subprocess.Popen(
        [build / "crossrank", "serve", "--port", "0", "--threads", "1",
         "--model", tiny_model], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    try:
        url = json.loads(serve.stdout.readline())["http"]
        _, results, _ = bench(
            experiment(load="batch_sizes: [4], requests: 10"), "--url", url,
            "--dialect", dialect)
    finally:
        serve.terminate()
        serve.wait()
    assert results["servers"][0]["dialect"] == dialect
    assert results["accuracy"]["max_abs_diff"] < 0.1


def test_an_interrupt_writes_what_was_measured(build, experiment, tiny_model,
                                               tmp_path, slower):
    out = tmp_path / "out"
    file = experiment(load="batch_sizes: [2], concurrency_levels: [1, 2], "
                           "duration_s: 60")
    process = subprocess.Popen(
        [build / "crossrank", "bench", file, "-o", out],
        stderr=subprocess.PIPE, env={**os.environ,
                                     "CROSSRANK_MODEL": str(tiny_model)})
    line = b""
    while b"warm-up" not in line:
        line = process.stderr.readline()
        assert line, "it ended before the warm-up"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30 * slower)
    assert process.returncode == 130
    results, rows = read(out)
    assert results["interrupted"] is True and rows
    assert len(results["servers"][0]["configurations"]) == 1
    check_figures(results, rows)
    assert (out / "report.md").exists()
    # Its server went with it.
    url = results["servers"][0]["url"]
    done = subprocess.run([build / "crossrank", "bench", file, "-o",
                           tmp_path / "again", "--url", url],
                          capture_output=True)
    assert done.returncode == 3


def test_all_goes_on_after_a_failure(tiny, tmp_path, tiny_model, pairs):
    folder = tmp_path / "experiments"
    folder.mkdir()
    load = f"load: {{requests: 4, batch_sizes: [2], dataset: {pairs}}}\n"
    (folder / "a.yaml").write_text(f"model: {tiny_model}\nbakend: cpu\n")
    (folder / "b.yaml").write_text(f"model: {tiny_model}\n{load}")
    done = tiny("bench", "--all", folder, "-o", tmp_path / "r")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1 and len(lines) == 2
    assert lines[0].startswith("a ") and "failed" in lines[0]
    assert lines[1].startswith("b ") and "4 requests" in lines[1]
    assert (tmp_path / "r/b/report.md").exists()


def test_shipped_experiments_are_readable(tiny, root, tmp_path):
    """Each is read and begun; one that asks for a backend that is not here
    says so with 4."""
    files = sorted((root / "experiments").glob("*.yaml"))
    assert len(files) >= 14
    for file in files:
        done = tiny("bench", file, "-o", tmp_path / file.stem, "--url",
                    "http://127.0.0.1:9")
        # Read well: a sweep cannot be put on a server that runs (2), others
        # find nothing there (3).
        assert done.returncode in (2, 3, 4), file
        assert b"yaml:" not in done.stderr, done.stderr.decode()


def test_shipped_data_by_default(tiny, tmp_path, tiny_model):
    file = tmp_path / "x.yaml"
    file.write_text(f"model: {tiny_model}\nload: {{requests: 3}}\n")
    done = tiny("bench", file, "-o", tmp_path / "out", "--in-process")
    assert done.returncode == 0, done.stderr.decode()
    results, _ = read(tmp_path / "out")
    # Its name, not the folder of whoever ran it.
    assert results["dataset"]["source"] == "novel (shipped)"
    assert results["dataset"]["synthetic"] is False
    assert results["dataset"]["pairs"] == 420
