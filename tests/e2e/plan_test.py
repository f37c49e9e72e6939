"""crossrank plan: what it measures, what it answers, and what it refuses.
Service times are those of a file where a test is about the answer, so that it
is the same on every machine; queueing theory is in the unit tests of
lab/simulate.h."""

import json
import math

import pytest

from helpers import message_of

# A lane takes 10 ms for a group of 256 tokens, and more in proportion.
SERVICE = {
    "group_tokens": 256, "max_group_tokens": 768, "teams": True,
    "groups": [{"tokens": 64, "ms": 2.5}, {"tokens": 256, "ms": 10.0},
               {"tokens": 512, "ms": 20.0}],
    "team_gain": 0.5, "door_ms": 0.0, "wire_ms": 0.0, "spread": []}
# Pairs are cut to 64 tokens, four to a group.
LOAD = ["--pairs", "8", "--dataset", "synthetic:fixed:64",
        "--max-length", "64"]


@pytest.fixture(scope="module")
def times(tmp_path_factory):
    """times(**changes) -> a file of service times."""
    folder = tmp_path_factory.mktemp("times")

    def write(**changes):
        path = folder / f"{len(list(folder.iterdir()))}.json"
        path.write_text(json.dumps({
            "schema": "crossrank-plan/1", "service": SERVICE | changes}))
        return path
    return write


@pytest.fixture
def plan(tiny, times):
    """plan(options...) -> (what ended, its JSON) of one lane a replica."""
    def run(*options, code=0, file=None, load=LOAD):
        done = tiny("plan", *load, "--lanes", "1", "--results",
                    file or times(), "--json", *options)
        assert done.returncode == code, message_of(done)
        return done, json.loads(done.stdout) if done.stdout else None
    return run


def test_what_is_measured(tiny, tmp_path):
    """The whole way, with a server of our own, then again from what it left:
    the second answer is the first."""
    load = ["plan", "--rate", "5", "--pairs", "4", "--lanes", "1", "--json"]
    done = tiny(*load, seconds=300)
    assert done.returncode == 0, message_of(done)
    told = json.loads(done.stdout)
    service = told["service"]
    assert service["source"] == "measured here"
    assert service["seconds"] > 0 and service["lone_ms"] > 0
    assert len(service["groups"]) > 2 and len(service["spread"]) > 10
    assert sum(service["spread"]) / len(service["spread"]) \
        == pytest.approx(1)
    sizes = [point["tokens"] for point in service["groups"]]
    assert sizes == sorted(sizes)
    assert service["groups"][-1]["ms"] > service["groups"][0]["ms"]
    assert service["door_ms"] >= 0 and service["wire_ms"] >= 0
    assert told["load"]["dataset"].endswith("data/novel")
    assert told["answer"]["holds"] and told["answer"]["replicas"] >= 1
    assert told["alone_ms"]["p50"] > service["door_ms"]
    saved = tmp_path / "plan.json"
    saved.write_bytes(done.stdout)
    again = json.loads(tiny(*load, "--results", saved).stdout)
    assert again["service"]["source"] == str(saved)
    assert again["answer"] == told["answer"]
    assert again["table"] == told["table"]


def test_the_fewest_replicas(plan):
    """Two groups a request: one lane can do 50 a second."""
    _, told = plan("--rate", "100", "--p99", "60", "--price", "0.05")
    assert told["schema"] == "crossrank-plan/1"
    assert told["load"]["tokens_per_pair"] == 64
    assert told["replica"] == {
        "lanes": 1, "requests_per_s": pytest.approx(50, rel=1e-3),
        "passages_per_s": pytest.approx(400, rel=1e-3)}
    assert told["floor_ms"] == told["alone_ms"]["p99"] == pytest.approx(20)
    assert told["possible"] and told["more_lanes"] is None
    answer = told["answer"]
    assert answer["holds"] and answer["p99_ms"] <= 60
    assert answer["lanes"] == answer["replicas"] > 2
    table = told["table"]
    assert [row["replicas"] for row in table] \
        == sorted({row["replicas"] for row in table})
    assert answer in table
    for row in table:
        assert row["holds"] == (row["replicas"] >= answer["replicas"])
        if row["replicas"] <= 2:
            assert row["overloaded"] and row["p99_ms"] is None
            continue
        assert row["utilization"] == pytest.approx(2 / row["replicas"],
                                                   rel=0.03)
        assert row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["cost_per_million"] == pytest.approx(
            row["lanes"] * 0.05 / (100 * 8 * 3600) * 1e6)
    assert table[-1]["replicas"] == answer["replicas"] + 3


def test_without_a_p99(plan):
    """The fewest whose lanes work at most 80 % of the time."""
    _, told = plan("--rate", "100")
    assert told["load"]["p99_ms"] is None
    assert told["answer"]["replicas"] == 3
    assert told["answer"]["cost_per_million"] is None


def test_an_impossible_p99(plan):
    """Below one request's own time: the floor is said, and what would do."""
    done, told = plan("--rate", "10", "--p99", "19.5", code=1)
    assert not told["possible"] and told["answer"] is None
    assert told["floor_ms"] == pytest.approx(20)
    assert told["more_lanes"] == {"lanes": 2, "floor_ms": pytest.approx(10)}
    assert "a p99 of 19.5 ms is impossible" in message_of(done)
    assert "20.00 ms" in message_of(done)
    assert "--lanes 2 would have 10.00 ms" in message_of(done)
    done, told = plan("--rate", "10", "--p99", "0.01", code=1)
    assert told["more_lanes"] is None
    assert "no number of lanes would do" in message_of(done)


def test_predicting(plan):
    done, told = plan("--rate", "100", "--replicas", "3")
    assert [row["replicas"] for row in told["table"]] == [3]
    assert told["answer"] == told["table"][0]
    assert message_of(done) == ""
    done, told = plan("--rate", "100", "--replicas", "3", "--p99", "25",
                      code=1)
    assert not told["answer"]["holds"]
    assert "3 replicas do not hold a p99 of 25 ms" in message_of(done)
    done, told = plan("--rate", "100", "--replicas", "1", code=1)
    assert told["answer"]["overloaded"]
    assert told["answer"]["utilization"] is None
    assert "1 replica is overloaded: 50.0" in message_of(done)


def test_lanes_share_a_request(plan):
    _, one = plan("--rate", "10", "--replicas", "1")
    _, two = plan("--rate", "10", "--replicas", "1", "--lanes", "2")
    assert one["floor_ms"] == pytest.approx(2 * two["floor_ms"])
    assert two["replica"]["requests_per_s"] == pytest.approx(100, rel=0.01)
    assert two["answer"]["lanes"] == 2


def test_the_window(plan):
    """A lone request waits all of it, unless its batch is full."""
    _, told = plan("--rate", "1", "--replicas", "1", "--window", "30")
    assert told["floor_ms"] == pytest.approx(50)
    _, told = plan("--rate", "1", "--replicas", "1", "--window", "30",
                   "--max-batch", "8")
    assert told["floor_ms"] == pytest.approx(20)
    assert told["load"]["window_ms"] == 30 and told["load"]["max_batch"] == 8


def test_the_door(plan, times):
    """What a request costs beside its groups: latency, and capacity."""
    _, told = plan("--rate", "10", "--replicas", "1",
                   file=times(door_ms=5.0, wire_ms=1.0))
    assert told["floor_ms"] == pytest.approx(26)
    assert told["replica"]["requests_per_s"] == pytest.approx(40, rel=0.01)


def test_a_seed_repeats(plan):
    options = ["--rate", "100", "--p99", "60"]
    done, _ = plan(*options)
    again, _ = plan(*options)
    other, _ = plan(*options, "--seed", "2")
    assert json.loads(done.stdout)["table"] \
        == json.loads(again.stdout)["table"] \
        != json.loads(other.stdout)["table"]


def test_a_thousand_replicas(plan):
    """A bound on work: so many events a request, whatever the replicas."""
    _, few = plan("--rate", "90", "--replicas", "2")
    _, many = plan("--rate", "45000", "--replicas", "1000")
    for told in few, many:
        row = told["answer"]
        # Arrival, queue and two groups, while 6 requests of 5 are counted.
        assert row["events"] <= 4 * 1.2 * 1.1 * row["requests"]
    assert many["answer"]["requests"] >= 50 * 1000
    assert many["answer"]["utilization"] == pytest.approx(0.9, rel=0.03)
    # The more there are, the likelier one of them is idle.
    assert many["answer"]["p99_ms"] < few["answer"]["p99_ms"]
    assert many["simulated"]["runs"] == 3


def test_requests(plan):
    _, told = plan("--rate", "40", "--replicas", "1", "--requests", "500")
    assert told["answer"]["requests"] == 500


def test_from_a_benchmark(tiny, root):
    """results.json has no groups, but it has rates and stages."""
    file = root / "tests/fixtures/results/results.json"
    done = tiny("plan", "--rate", "1", "--pairs", "2", "--lanes", "1",
                "--results", file, "--json")
    assert done.returncode == 0, message_of(done)
    told = json.loads(done.stdout)
    results = json.loads(file.read_text())
    best = max(c["throughput"]["tokens_per_s"] / s["info"]["crossrank"]
               ["lanes"] for s in results["servers"]
               for c in s["configurations"])
    points = told["service"]["groups"]
    for point in points:
        assert point["tokens"] / point["ms"] * 1000 == pytest.approx(best)
    assert told["service"]["spread"] == []
    assert told["service"]["seconds"] is None
    assert told["service"]["source"] == str(file)


@pytest.mark.parametrize("change", [
    {"mode": "open"}, {"server": None}])
def test_a_benchmark_without_service_times(tiny, root, tmp_path, change):
    """The rate of an open loop is what was offered; without stages nobody
    knows what was computed."""
    results = json.loads(
        (root / "tests/fixtures/results/results.json").read_text())
    for server in results["servers"]:
        for configuration in server["configurations"]:
            configuration.update(change)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results))
    done = tiny("plan", "--rate", "1", "--pairs", "2", "--lanes", "1",
                "--results", file)
    assert done.returncode == 3
    assert "closed loop" in message_of(done)


def test_text(tiny, times):
    done = tiny("plan", "--rate", "100", *LOAD, "--lanes", "1", "--p99", "60",
                "--price", "0.05", "--results", times())
    text = done.stdout.decode()
    assert done.returncode == 0, message_of(done)
    assert "100 requests/s of 8 pairs, 64.0 tokens a pair" in text
    assert "the floor" in text and "at most 50.0" in text
    lines = text.splitlines()
    starred = [line.split() for line in lines if line.startswith("*")]
    assert len(starred) == 1
    assert f"needed     {starred[0][1]} replicas" in text
    assert "cost/million" in text and "overloaded" in text
    assert math.isclose(float(starred[0][-1]),
                        int(starred[0][1]) * 0.05 / (800 * 3600) * 1e6,
                        rel_tol=1e-4)


@pytest.mark.parametrize("options, code, words", [
    ([], 2, ["--rate"]),
    (["--rate", "5"], 2, ["--pairs"]),
    (["--rate", "0", "--pairs", "5"], 2, ["--rate", '"0"', "0.001"]),
    (["--rate", "5", "--pairs", "0"], 2, ["--pairs", '"0"', "10000"]),
    (["--rate", "5", "--pairs", "5", "--p99", "-1"], 2, ["--p99", '"-1"']),
    (["--rate", "5", "--pairs", "5", "extra"], 2, ["extra"]),
    (["--rate", "5", "--pairs", "5", "--dataset", "nowhere"], 3, ["nowhere"]),
    (["--rate", "5", "--pairs", "5", "--results", "nowhere.json"], 3,
     ["nowhere.json"]),
    (["--rate", "5", "--pairs", "5", "--dtype", "fp16"], 4, ["fp16"]),
    (["--rate", "5", "--pairs", "5", "--model", "nowhere"], 3, ["nowhere"]),
])
def test_refusals(tiny, options, code, words):
    done = tiny("plan", *options)
    assert done.returncode == code and done.stdout == b""
    for word in words:
        assert word in message_of(done)


def test_more_than_can_be_simulated(plan):
    done, _ = plan("--rate", "1000000", code=2)
    assert "1000000" in message_of(done) or "1e+06" in message_of(done)
    assert "10000 can be simulated" in message_of(done)
    done, _ = plan("--rate", "10", "--replicas", "200", "--lanes", "1000",
                   code=2)
    assert "200 replicas of 1000 lanes" in message_of(done)


@pytest.mark.parametrize("change, words", [
    ({"groups": []}, ["groups", "0 entries"]),
    ({"groups": [{"tokens": 9, "ms": 1}, {"tokens": 8, "ms": 1}]},
     ["tokens"]),
    ({"team_gain": 2}, ["team_gain"]),
    ({"spread": [1, 0]}, ["spread"]),
    ({"door_ms": None}, ["door_ms"]),
])
def test_files_that_are_wrong(plan, times, change, words):
    file = times(**change)
    done, _ = plan("--rate", "5", file=file, code=3)
    for word in [str(file), *words]:
        assert word in message_of(done)


def test_files_of_another_kind(plan, tmp_path):
    file = tmp_path / "x.json"
    file.write_text('{"schema": "other/1"}')
    done, _ = plan("--rate", "5", file=file, code=3)
    assert "other/1" in message_of(done)
    assert "crossrank bench" in message_of(done)
    file.write_text('{"schema": "crossrank-results/1", "servers": []}')
    done, _ = plan("--rate", "5", file=file, code=3)
    assert "tokens_per_s" in message_of(done)
