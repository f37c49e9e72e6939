"""What README.md shows after a `$` is what the program prints.

`…` stands for anything. What a line says of the machine (`crossrank info`) is
compared by its first word only; what needs a network is left out.
"""
import os
import re
import subprocess

import pytest

# One example: "    $ command", its further lines, and what it prints.
BLOCK = re.compile(r"(?:^    .*\n)+", re.M)
OF_THE_MACHINE = {"folder", "dtype", "there", "isa", "threads", "memory"}


def read_examples(text):
    """(command, lines of output) of every block that begins with a `$`."""
    for block in BLOCK.findall(text):
        lines = [line[4:] for line in block.splitlines()]
        if not lines[0].startswith("$ "):
            continue
        n = 1
        while lines[n - 1].endswith(("|", "\\")):
            n += 1
        yield "\n".join(lines[:n])[2:], lines[n:]


def is_like(shown, printed):
    if shown.split(" ")[0] in OF_THE_MACHINE:
        return printed.startswith(shown.split(" ")[0] + " ")
    parts = map(re.escape, shown.split("…"))
    return re.fullmatch(".*".join(parts), printed) is not None


def compare(shown, printed):
    """None, or the first line that is not as shown."""
    at = 0
    for i, line in enumerate(shown):
        if line == "…":  # any number of lines
            while at < len(printed) and not is_like(shown[i + 1], printed[at]):
                at += 1
            continue
        if at == len(printed) or not is_like(line, printed[at]):
            return line
        at += 1
    return None if at == len(printed) else f"nothing, not {printed[at]}"


def test_examples_print_what_is_shown(root, build, slower):
    if os.environ.get("CROSSRANK_BACKEND", "cpu") != "cpu":
        pytest.skip("the examples are of the backend cpu")
    text = (root / "README.md").read_text(encoding="utf-8")
    examples = [e for e in read_examples(text) if "crossrank pull" not in e[0]]
    assert len(examples) >= 5
    for command, shown in examples:
        done = subprocess.run(
            ["sh", "-c", command], cwd=root, capture_output=True,
            timeout=60 * slower,
            env={**os.environ, "PATH": f"{build}:{os.environ['PATH']}"})
        assert done.returncode == 0, (command, done.stderr)
        wrong = compare(shown, done.stdout.decode().splitlines())
        assert wrong is None, (command, wrong, done.stdout.decode())


def test_the_comparison_sees_what_is_wrong():
    assert compare(["a…c", "b"], ["a 1 c", "b"]) is None
    assert compare(["a", "…", "b"], ["a", "x", "y", "b"]) is None
    assert compare(["1.5"], ["1.6"]) == "1.5"
    assert compare(["a", "b"], ["a"]) == "b"
    assert compare(["a"], ["a", "b"]) == "nothing, not b"
    assert compare(["a", "…", "b"], ["a", "x"]) == "b"


def test_size_of_the_program_is_as_said(root, build):
    """It grows with features; the README must not fall behind."""
    said = re.search(r"One program of (\S+) MB",
                     (root / "README.md").read_text(encoding="utf-8"))
    if build.name != "build":
        pytest.skip("the size is that of ./run build")
    size = (build / "crossrank").stat().st_size / 1e6
    assert abs(size - float(said[1])) < 0.3, size
