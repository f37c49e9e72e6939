"""deploy/Containerfile. Without an engine: hadolint reads it, its steps are
those that ./run knows, what it copies is what is installed, and what it starts
is a command of the program. With one, which ./run container names in
$CROSSRANK_ENGINE: the image that was built serves, ranks and stops."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from serve import free_port

PREFIX = "/usr"


@pytest.fixture(scope="module")
def path(root):
    return root / "deploy/Containerfile"


@pytest.fixture(scope="module")
def stages(path):
    """[[(instruction, rest), ...], ...], a list a FROM."""
    text = path.read_text().replace("\\\n", " ")
    rows = [line.split(None, 1) for line in text.splitlines()
            if line.strip() and not line.startswith("#")]
    assert rows[0][0] == "FROM"
    found = []
    for name, rest in rows:
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def of(stage, name):
    return [rest for instruction, rest in stage if instruction == name]


def test_hadolint_has_nothing_to_say(path, root, tmp_path):
    program = shutil.which("hadolint") or root / ".cache/hadolint/bin/hadolint"
    if not shutil.which(program):
        pytest.skip("no hadolint: ./run check gets it from pip")
    done = subprocess.run([program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    bad = tmp_path / "Containerfile"
    bad.write_text("FROM debian\nRUN cd /tmp\n")
    assert subprocess.run([program, bad],
                          capture_output=True).returncode != 0


def test_it_builds_as_run_does(root, stages):
    known = subprocess.run([root / "run", "help"], capture_output=True,
                           text=True).stdout
    steps = of(stages[0], "RUN")
    assert len(stages) == 2 and steps
    for step in steps:
        command = shlex.split(step)
        assert command[:2] == ["DESTDIR=/out", "./run"], step
        assert re.search(rf"^  {command[2]} \[PREFIX\]", known, re.M), step
        assert command[3:] == [PREFIX]


def test_the_last_stage_has_but_what_is_installed(build, stages):
    """Meson knows what is installed where, below its own prefix."""
    last = stages[1]
    assert of(last, "FROM") == ["scratch"] and not of(last, "RUN")
    options = json.loads(
        (build / "meson-info/intro-buildoptions.json").read_text())
    prefix = next(o["value"] for o in options if o["name"] == "prefix")
    installed = [p.removeprefix(prefix + "/") for p in json.loads(
        (build / "meson-info/intro-installed.json").read_text()).values()]
    copied = of(last, "COPY")
    assert copied
    for copy in copied:
        where, source, target = copy.split()
        assert where == "--from=build" and source == "/out" + target
        below = target.removeprefix(PREFIX + "/")
        assert any(p == below or p.startswith(below + "/") for p in installed)
    assert f"--from=build /out{PREFIX}/bin/crossrank {PREFIX}/bin/crossrank" \
        in copied


def test_it_starts_what_there_is(stages, crossrank):
    last = stages[1]
    program = json.loads(of(last, "ENTRYPOINT")[0])
    words = json.loads(of(last, "CMD")[0])
    assert program == [f"{PREFIX}/bin/crossrank"] and words[0] == "serve"
    assert of(last, "USER")[0].split(":")[0] not in ("root", "0")
    printed = crossrank(*words, "--print-config").stdout.decode()
    assert re.search(r"^host: .?0\.0\.0\.0", printed, re.M), printed
    ports = re.findall(r"\bport: (\d+)", printed)
    assert "8080" in ports and "8080" in of(last, "EXPOSE")[0].split()


def test_nothing_built_here_goes_along(root):
    """The context would else hold gigabytes, and a foreign build folder."""
    left_out = (root / ".dockerignore").read_text().split()
    for name in (".git", "build*", ".venv*", ".cache", "third_party"):
        assert name in left_out


# ---- The image ---------------------------------------------------------------

LINES = "capital of Italy\tRome is in Italy\ncapital of Italy\tParis is\n"


@pytest.fixture(scope="module")
def engine():
    name = os.environ.get("CROSSRANK_ENGINE")
    if not name:
        pytest.skip("no image: ./run container builds it and tests it")
    return name


def test_scores_in_a_container_are_the_program_s(engine, crossrank):
    """Of another compiler and C library, so not to the bit."""
    inside = subprocess.run(
        [engine, "run", "--rm", "-i", "crossrank", "score", "--dtype", "fp32",
         "-"], input=LINES, capture_output=True, text=True)
    assert inside.returncode == 0, inside.stderr
    outside = crossrank("score", "--dtype", "fp32", "-", stdin=LINES.encode())
    assert [*map(float, inside.stdout.split())] == pytest.approx(
        [*map(float, outside.stdout.split())], abs=1e-5)


def test_the_image_is_as_small_as_is_said(engine, root):
    said = re.search(r"user 65534, (\d+) MB", (root / "docs/SERVER.md").read_text())
    size = subprocess.run([engine, "image", "inspect", "-f", "{{.Size}}",
                           "crossrank"], capture_output=True, text=True)
    assert int(size.stdout) / 1e6 == pytest.approx(int(said[1]), rel=0.1)


def ask(url, body=None):
    request = urllib.request.Request(
        url, body and json.dumps(body).encode(),
        {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def test_it_serves_as_nobody_from_a_root_that_cannot_be_written(engine, slower):
    name, port, grpc = f"crossrank-{os.getpid()}", free_port(), free_port()
    server = subprocess.Popen(
        [engine, "run", "--rm", "--read-only", "--name", name,
         "-p", f"127.0.0.1:{port}:{port}", "crossrank", "serve",
         "--host", "0.0.0.0", "--port", str(port), "--grpc-port", str(grpc)])
    try:
        end = time.monotonic() + 30 * slower
        while True:
            try:
                ask(f"http://127.0.0.1:{port}/health")
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None and time.monotonic() < end
                time.sleep(0.1)
        rows = json.loads(ask(f"http://127.0.0.1:{port}/rerank", {
            "query": "capital of Italy", "texts": ["Paris is", "Rome is"]}))
        assert [row["index"] for row in rows] == [1, 0]
        user = subprocess.run(
            [engine, "inspect", "-f", "{{.Config.User}}", name],
            capture_output=True, text=True)
        assert user.stdout.strip() == "65534:65534"
    finally:
        subprocess.run([engine, "stop", "-t", "20", name], capture_output=True)
    assert server.wait(30) == 0
