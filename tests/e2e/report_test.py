"""Every figure of a report, recomputed from requests.csv with numpy's
definitions; what a damaged folder is told; comparisons. The fixture is a run
of a real server (tests/fixtures/results/experiment.yaml)."""

import csv
import json
import pathlib
import re
import shutil
import subprocess

import pytest

numpy = pytest.importorskip("numpy")

FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures/results"


def report(program, *folders):
    return subprocess.run([program, "report", *folders], capture_output=True,
                          text=True)


@pytest.fixture
def program(build):
    return build / "crossrank"


@pytest.fixture
def folder(tmp_path):
    for name in ("results.json", "requests.csv"):
        shutil.copy(FIXTURE / name, tmp_path)
    return tmp_path


def measured(folder, configuration):
    with open(folder / "requests.csv") as lines:
        rows = [row for row in csv.DictReader(lines)
                if int(row["configuration"]) == configuration]
    column = lambda name: numpy.array(  # noqa: E731
        [float(row[name]) for row in rows])
    latency, pairs = column("latency_ms"), column("pairs")
    seconds = column("end_s").max() - column("start_s").min()
    return latency, pairs / latency * 1e3, pairs.sum(), seconds


def tables(text):
    """Of each configuration: {metric: value} of latency and throughput."""
    rows = [dict(re.findall(r"^\| ([\w. ]+) \| (-?[\d.]+) \|$", part, re.M))
            for part in re.split(r"^#### ", text, flags=re.M)[1:]
            if part.startswith(("Latency (ms)", "Throughput"))]
    return list(zip(rows[::2], rows[1::2]))


def figures(values):
    named = {f"P{p}": numpy.percentile(values, p) for p in (50, 90, 95, 99)}
    return {"Average": values.mean(), "Min": values.min(),
            "Max": values.max(), "Std Dev": values.std(), **named}


def test_every_figure_follows_from_the_requests(program, folder):
    assert report(program, folder).returncode == 0
    text = (folder / "report.md").read_text()
    found = tables(text)
    correlations = re.findall(r"Correlation:\*\* (\S+)", text)
    assert len(found) == 2
    for number, (latencies, rates) in enumerate(found):
        latency, rate, pairs, seconds = measured(folder, number)
        for name, value in figures(latency).items():
            assert float(latencies[name]) == pytest.approx(value, abs=0.0051)
        for name, value in figures(rate).items():
            wanted = pairs / seconds if name == "Average" else value
            assert float(rates[name]) == pytest.approx(wanted, abs=0.0051)
        assert float(correlations[number]) == pytest.approx(
            numpy.corrcoef(latency, rate)[0, 1], abs=0.00051)
        assert f"**Total:** {pairs:.0f} pairs in {seconds:.2f}s" in text


def test_buckets_hold_every_request_once(program, folder):
    assert report(program, folder).returncode == 0
    text = (folder / "report.md").read_text()
    counts = re.findall(r"\(P\d\d.*\) \|.* (\d+) \|$", text, re.M)
    assert sum(map(int, counts)) == 80


def test_stages_add_up_to_the_latency(program, folder):
    assert report(program, folder).returncode == 0
    part = (folder / "report.md").read_text().split("## Stages")[1]
    rows = re.findall(r"^\| \d+ \| n/a \| (\S+) \| (\S+) \| (\S+) \| n/a \| "
                      r"(\S+) \| (\S+) \|$", part.split("## Tokens")[0], re.M)
    assert len(rows) == 2
    for row in rows:
        *stages, other, latency = map(float, row)
        assert sum(stages) + other == pytest.approx(latency, abs=0.03)
        # What the server does not account for is what it does not do.
        assert 0 <= other < 0.1 * latency


@pytest.mark.parametrize("share, warned", [(0.49, False), (0.51, True)])
def test_a_busy_load_generator_is_said(program, folder, share, warned):
    path = folder / "results.json"
    results = json.loads(path.read_text())
    results["servers"][0]["configurations"][0]["client_cpu_share"] = share
    path.write_text(json.dumps(results))
    assert report(program, folder).returncode == 0
    text = (folder / "report.md").read_text()
    assert f"| {100 * share:.1f}% |" in text
    assert ("**Warning:** the load generator" in text) is warned


def change(folder, work):
    path = folder / "results.json"
    results = json.loads(path.read_text())
    work(results)
    path.write_text(json.dumps(results))


def test_what_must_be_known_first_is_in_both(program, folder):
    change(folder, lambda r: r.update(interrupted=True, planned_servers=9))
    assert report(program, folder).returncode == 0
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text()
        assert "the run was interrupted" in text
        assert re.search(r"[0-9] of the 9 servers of the sweep", text)


def test_requests_of_another_run_are_refused(program, folder):
    def one_more(results):
        results["servers"][0]["configurations"][0]["requests"] += 1
    change(folder, one_more)
    done = report(program, folder)
    assert done.returncode == 3
    assert "not of one run" in done.stderr


def test_rates_tell_loads_apart(program, folder, tmp_path):
    """Open loops that differ in what they offer alone are other loads."""
    def offer(rates):
        def work(results):
            all_of_them = [c for s in results["servers"]
                           for c in s["configurations"]]
            for c, rate in zip(all_of_them, rates):
                c.update(mode="open", arrival="poisson", rate_per_s=rate,
                         batch_size=4, concurrency=16)
        return work
    change(folder, offer([4, 8]))
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    change(other, offer([8, 16]))
    assert report(program, folder).returncode == 0
    text = (folder / "report.md").read_text()
    assert "rate=4.0/s poisson" in text and "rate=8.0/s poisson" in text
    done = report(program, folder, other)
    assert "1 of 2 configurations are in both" in done.stdout


def test_page_needs_nothing_else(program, folder):
    assert report(program, folder).returncode == 0
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(http|//)""", page)
    assert "/*DATA*/" not in page and '"configurations":[{' in page


def test_a_run_does_not_differ_from_itself(program, folder):
    done = report(program, folder, folder)
    assert done.returncode == 0
    assert "| no |" in done.stdout and "| yes |" not in done.stdout


def test_a_run_of_twice_the_latency_does(program, folder, tmp_path):
    slow = tmp_path / "slow"
    slow.mkdir()
    shutil.copy(folder / "results.json", slow)
    with open(folder / "requests.csv") as lines:
        rows = list(csv.DictReader(lines))
    with open(slow / "requests.csv", "w", newline="") as out:
        table = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        for row in rows:
            row["latency_ms"] = str(2 * float(row["latency_ms"]))
            table.writerow(row)
    assert report(program, folder, slow).stdout.count("| yes |") == 2


def test_damage_is_named(program, folder):
    path = folder / "requests.csv"
    path.write_text(re.sub(r",8,(\d+),200,", r",x,\1,200,",
                           path.read_text(), count=1))
    done = report(program, folder)
    assert done.returncode == 3
    assert re.search(r"requests\.csv:2: field 9 is 'x'", done.stderr)
    (folder / "results.json").unlink()
    assert "crossrank bench writes one" in report(program, folder).stderr


def test_no_description_leaves_no_mark(program, folder):
    results = json.loads((folder / "results.json").read_text())
    results["description"] = ""
    (folder / "results.json").write_text(json.dumps(results))
    assert report(program, folder).returncode == 0
    lines = (folder / "report.md").read_text().splitlines()
    assert lines[2].startswith("**Timestamp:**")
