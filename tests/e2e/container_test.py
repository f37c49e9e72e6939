"""deploy/Containerfile without an engine: hadolint reads it, its steps are
those that ./run knows, what it copies is what is installed, and what it starts
is a command of the program. That the steps work is seen where they are run:
./run musl."""

import json
import re
import shlex
import shutil
import subprocess

import pytest

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
