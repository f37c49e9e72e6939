"""The code is laid out by clang-format 14, the version of Debian 12; others
lay out a little differently, so with those the test is skipped."""

import pathlib
import re
import shutil
import subprocess

import pytest

import rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "14"


def misplaced_lines(path, text):
    """Lines of `text` that clang-format would change."""
    done = subprocess.run(
        ["clang-format", f"--style=file:{ROOT / '.clang-format'}",
         f"--assume-filename={path}"],
        input=text, capture_output=True, text=True, check=True)
    old, new = text.splitlines(), done.stdout.splitlines()
    return [i for i, line in enumerate(old, 1)
            if i > len(new) or line != new[i - 1]]


@pytest.fixture(scope="module", autouse=True)
def version():
    if not shutil.which("clang-format"):
        pytest.skip("clang-format is not installed")
    told = subprocess.run(["clang-format", "--version"], capture_output=True,
                          text=True).stdout
    found = re.search(r"version (\d+)", told)
    if not found or found[1] != VERSION:
        pytest.skip(f"clang-format {VERSION} is needed, this is {told.strip()}")


def test_project():
    findings = []
    for name, text in rules.c_files(ROOT):
        if lines := not rules.is_generated(text) and misplaced_lines(name, text):
            findings.append(f"{name}:{lines[0]}: run clang-format -i {name}")
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)


def test_can_fail():
    assert misplaced_lines("a.c", "int f(void) {\n    return 1;\n}\n") != []
    assert misplaced_lines("a.c", "int  f( void );\n") == [1]
    assert misplaced_lines("a.c", "int f(void);\n") == []
