"""The program's manners: help, versions, options, exit codes, messages."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

COMMANDS = ["rank", "score", "eval", "tokenize", "info", "serve", "bench",
            "report", "plan"]


def test_help_lists_the_commands(crossrank):
    for arguments in (["--help"], ["-h"], ["help"]):
        done = crossrank(*arguments)
        assert done.returncode == 0 and done.stderr == b""
        for command in COMMANDS:
            assert re.search(rf"^  {command} ", done.stdout.decode(), re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(crossrank, command):
    done = crossrank(command, "--help")
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b""
    assert text.startswith(f"usage: crossrank {command}")
    for wanted in ("--model", "--backend", "--device", "--dtype", "--threads",
                   "--max-length", "examples:", "\n  crossrank "
                   if command == "info" else f"crossrank {command}"):
        assert wanted in text
    assert max(map(len, text.splitlines())) <= 84, max(
        text.splitlines(), key=len)
    assert crossrank("help", command).stdout == done.stdout


def test_version(crossrank):
    done = crossrank("--version")
    assert done.returncode == 0
    assert re.fullmatch(rb"crossrank \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("arguments, expected", [
    ([], "a command is needed"),
    (["scor"], 'unknown command "scor": did you mean score?'),
    (["xyzzy"], 'unknown command "xyzzy"'),
    (["help", "scor"], "did you mean score?"),
    (["score"], "score needs FILE|-"),
    (["score", "a", "b"], '"b" is one argument too many'),
    (["score", "--thread", "2", "-"], "did you mean --threads?"),
    (["score", "--threads", "x", "-"], '--threads is "x"'),
    (["score", "--threads=1025", "-"], "from 0 to 1024"),
    (["score", "--max-length", "-1", "-"], '--max-length is "-1"'),
    (["score", "--max-length", "2", "-"], "max_length is 2"),
    (["score", "--max-length", "513", "-"], "513"),
    (["score", "--dtype", "fp8", "-"], "auto, fp32, fp16, bf16, int8"),
    (["score", "--activation", "tanh", "-"], "model, none, sigmoid"),
    (["score", "--skip-errors=1", "-"], "--skip-errors takes no value"),
    (["score", "--model"], "--model needs a value"),
    (["score", "--model", "", "-"], '--model is "", it must not be empty'),
    (["score", "--isa=", "-"], '--isa is "", it must not be empty'),
    (["score", "--dtype", "BF16", "-"], "did you mean bf16?"),
    (["rank", "--query", "q", "--top", "-1", "-"], "from 1 to 4294967295"),
    (["serve", "--model", ""], '--model is "", it must not be empty'),
    (["report", "--threads", "x", "x"], '--threads is "x"'),
    (["rank", "-"], "rank needs --query"),
    (["rank", "--query", "q", "--top", "0", "-"], '--top is "0"'),
    (["eval", "--depth", "0", "x"], '--depth is "0"'),
    (["info", "x"], "one argument too many"),
])
def test_wrong_usage(crossrank, arguments, expected):
    done = crossrank(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert expected in done.stderr.decode()
    assert "help" in done.stderr.decode() or "max_length" in expected \
        or "513" in expected


@pytest.mark.parametrize("arguments, expected", [
    (["score", "/nowhere/at/all"], "/nowhere/at/all"),
    (["score", "/"], "folder"),
    (["tokenize", "/nowhere/at/all"], "/nowhere/at/all"),
    (["rank", "--query", "q", "/nowhere/at/all"], "/nowhere/at/all"),
    (["eval", "/nowhere/at/all"], "/nowhere/at/all"),
    (["score", "--model", "/nowhere/at/all", "-"], "/nowhere/at/all"),
    (["info", "--model", "/"], "/"),
])
def test_missing_files_are_bad_input(crossrank, arguments, expected):
    done = crossrank(*arguments)
    assert done.returncode == 3
    assert done.stdout == b""
    assert expected in done.stderr.decode()


def isa_names(crossrank):
    told = json.loads(crossrank("info", "--json").stdout)
    missing = {"avx512", "avx2", "neon"} - set(told["isa_available"])
    return told["isa_available"], sorted(missing)


@pytest.mark.parametrize("option", ["--backend", "--device", "--isa"])
@pytest.mark.parametrize("command", ["score", "info"])
def test_what_is_not_there_is_never_replaced(crossrank, command, option):
    value = isa_names(crossrank)[1][0] if option == "--isa" else "abacus"
    operands = ["-"] if command == "score" else []
    done = crossrank(command, option, value, *operands, stdin=b"q\tp\n")
    assert done.returncode == 4
    assert done.stdout == b""
    assert value in done.stderr.decode()


def test_isa_from_the_environment(crossrank):
    available, missing = isa_names(crossrank)
    for name in available:
        told = json.loads(crossrank(
            "info", "--json", env={**os.environ, "CROSSRANK_ISA": name}
        ).stdout)
        assert told["isa"] == name
    for name, code in ((missing[0], 4), ("abacus", 2)):
        done = crossrank("info", env={**os.environ, "CROSSRANK_ISA": name})
        assert done.returncode == code
        assert name in done.stderr.decode()


def test_model_from_the_environment(crossrank, root):
    model = root / "models" / "crossrank-minilm-l6"
    done = crossrank("info", "--json",
                     env={**os.environ, "CROSSRANK_MODEL": str(model)})
    assert json.loads(done.stdout)["model"]["path"] == str(model)
    done = crossrank("info", env={**os.environ, "CROSSRANK_MODEL": "/nowhere"})
    assert done.returncode == 3
    done = crossrank("info", "--json", "--model", model,
                     env={**os.environ, "CROSSRANK_MODEL": "/nowhere"})
    assert done.returncode == 0


def test_messages_stay_on_one_line(crossrank):
    done = crossrank("score", "/nowhere/\x1b[31m\nred")
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr


def run_redirected(build, redirection, *arguments):
    """The program, started by a shell with `redirection`, which may close."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", build / "crossrank",
         *arguments], capture_output=True, timeout=60)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize("arguments", [
    ["--help"], ["--version"], ["score", "--help"], ["info", "--json"],
    ["serve", "--print-config"], ["serve", "--port", "0"]])
def test_output_that_cannot_be_written(build, arguments, redirection):
    """It is said, and nobody waits for a line that never comes."""
    if "full" in redirection and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    done = run_redirected(build, redirection, *arguments)
    assert done.returncode == 3
    assert b"cannot write to standard output: " in done.stderr


def test_closed_standard_input(build):
    """Another file must not get its number and be read in its place."""
    done = run_redirected(build, "<&-", "score", "-")
    assert done.returncode == 3
    assert b"<stdin>: cannot read: " in done.stderr


def test_closed_standard_error(build, tmp_path):
    """Messages must not be written into a file that got its number."""
    path = tmp_path / "pairs"
    path.write_bytes(b"q\tp\nq\n")
    done = run_redirected(build, "2>&-", "score", "--skip-errors", path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [b"null"]
    assert path.read_bytes() == b"q\tp\nq\n"


def test_an_interrupted_peak_is_no_peak(build, slower):
    program = subprocess.Popen(
        [build / "crossrank", "info", "--json", "--peak", "--threads", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(1)
    program.send_signal(signal.SIGINT)
    out, message = program.communicate(timeout=60 * slower)
    if out:
        pytest.skip("it was done before the signal came")
    assert program.returncode == 130
    assert b"interrupted" in message
