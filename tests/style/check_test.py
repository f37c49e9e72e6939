"""tests/check.py must not report a green run that is none: each way in which
a test program can go wrong is played by a small script."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def check(tmp_path, *programs, what=("unit",)):
    """Runs check.py on shell scripts in place of test programs."""
    tests = []
    for i, script in enumerate(programs):
        path = tmp_path / f"program{i}"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        tests.append({"name": f"t{i}", "cmd": [str(path)], "env": {},
                      "timeout": 1})
    (tmp_path / "meson-info").mkdir()
    (tmp_path / "meson-info/intro-tests.json").write_text(json.dumps(tests))
    done = subprocess.run(
        [sys.executable, ROOT / "tests/check.py", "--build", tmp_path, *what],
        capture_output=True, text=True)
    return done.returncode, done.stdout


def count(output):
    return output.splitlines()[-1]


PASS = "echo 1..1; echo 'ok 1 - a'\n"


def test_all_pass(tmp_path):
    code, output = check(tmp_path, PASS, PASS)
    assert (code, count(output)) == (0, "2 passed, 0 failed, 0 skipped")


def test_failure_with_its_text(tmp_path):
    code, output = check(
        tmp_path, "echo 1..2; echo 'not ok 1 - broken'; echo '# 1 != 2'\n"
        "echo 'ok 2 - fine'; exit 1\n")
    assert (code, count(output)) == (1, "1 passed, 1 failed, 0 skipped")
    assert "t0: broken\n      # 1 != 2" in output


def test_skip_with_its_reason(tmp_path):
    code, output = check(
        tmp_path, "echo 1..2; echo 'ok 1 - a'; echo '# skip: no data here'\n"
        "echo 'not ok 2 # SKIP b'\n")
    assert (code, count(output)) == (0, "1 passed, 0 failed, 1 skipped")
    assert "no data here\n      t0: b\n" in output


@pytest.mark.parametrize("script,says", [
    ("echo 1..2; echo 'ok 1 - a'\n", "1 of 2 planned tests reported"),
    (PASS + "exit 3\n", "exit status 3"),
    (PASS + "kill -SEGV $$\n", "killed by SIGSEGV"),
    ("echo 1..0\n", "0 of no planned tests reported"),
    ("echo nonsense\n", "0 of no planned tests reported"),
    ("echo 1..1; exec sleep 30\n", "took over 1 s"),
], ids=["stops early", "exit status", "crash", "empty", "no TAP", "hangs"])
def test_wrong_in_some_other_way(tmp_path, script, says):
    code, output = check(tmp_path, script)
    assert code == 1 and ", 1 failed, 0 skipped" in count(output)
    assert says in output


def test_no_test_at_all_fails(tmp_path):
    code, output = check(tmp_path)
    assert (code, count(output)) == (1, "0 passed, 1 failed, 0 skipped")


def test_pytest_results_are_added(tmp_path):
    suite = tmp_path / "sample_test.py"
    suite.write_text("import pytest\n"
                     "def test_a(): pass\n"
                     "def test_b(): assert 1 == 2\n"
                     "def test_c(): pytest.skip('not today')\n")
    code, output = check(tmp_path, PASS, what=("unit", str(suite)))
    assert (code, count(output)) == (1, "2 passed, 1 failed, 1 skipped")
    assert "not today" in output and "assert 1 == 2" in output


def test_pytest_that_collects_nothing_fails(tmp_path):
    suite = tmp_path / "empty_test.py"
    suite.write_text("")
    code, output = check(tmp_path, what=(str(suite),))
    assert (code, count(output)) == (1, "0 passed, 1 failed, 0 skipped")


def test_pytest_that_cannot_import_fails(tmp_path):
    suite = tmp_path / "broken_test.py"
    suite.write_text("import no_such_module\n")
    code, output = check(tmp_path, what=(str(suite),))
    assert code == 1 and "no_such_module" in output
