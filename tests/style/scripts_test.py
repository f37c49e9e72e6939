"""The shell scripts: what ./run promises without building, and shellcheck."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMANDS = ["demo", "check", "build", "bench", "asan", "ubsan", "tsan",
            "fuzz", "chart", "install", "help"]


def scripts():
    yield ROOT / "run"
    yield ROOT / ".ci/run"
    for folder in ("tools", "tests", "bench"):
        yield from (ROOT / folder).rglob("*.sh")


def run(*arguments):
    return subprocess.run([ROOT / "run", *arguments], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)


def test_help_names_every_command():
    done = run("help")
    assert done.returncode == 0 and done.stderr == ""
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_unknown_command_is_a_usage_error():
    done = run("no-such-command")
    assert done.returncode == 2
    assert "unknown command 'no-such-command'" in done.stderr
    assert done.stdout == ""


def shellcheck(path):
    return subprocess.run(["shellcheck", "-x", path], capture_output=True,
                          text=True)


@pytest.mark.skipif(not shutil.which("shellcheck"),
                    reason="shellcheck is not installed")
def test_shellcheck(tmp_path):
    for script in scripts():
        done = shellcheck(script)
        assert done.returncode == 0, done.stdout
    bad = tmp_path / "bad.sh"
    bad.write_text("#!/bin/sh\necho $undefined_word\n")
    assert shellcheck(bad).returncode != 0
