"""What the end-to-end tests share: files of pairs and readings of output.

They run over the backend that CROSSRANK_BACKEND names, as the program does:
what only `cpu` promises is compared with alike(), or marked only_cpu()."""

import json
import os

import pytest

BACKEND = os.environ.get("CROSSRANK_BACKEND") or "cpu"


def only_cpu(why):
    """A mark for tests of what other backends do not promise."""
    return pytest.mark.skipif(BACKEND != "cpu", reason=f"{BACKEND}: {why}")


def alike(got, want):
    """Whether scores, or answers that hold some, are what the backend promises
    of equal pairs: equal, and elsewhere than on cpu within 1e-3."""
    if BACKEND == "cpu" or not isinstance(want, (float, list, dict)):
        return got == want
    if isinstance(want, float):
        return abs(got - want) <= 1e-3
    if isinstance(want, dict):
        return list(got) == list(want) and \
            all(alike(got[k], want[k]) for k in want)
    return len(got) == len(want) and all(map(alike, got, want))


def scores_of(done):
    """The scores of `crossrank score`, None for null."""
    return [None if line == b"null" else float(line)
            for line in done.stdout.splitlines()]


def write_tsv(path, pairs):
    path.write_bytes(b"".join(
        f"{query}\t{passage}\n".encode() for query, passage in pairs))
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def message_of(done):
    return done.stderr.decode()


def open_terminal():
    """Both ends of a pseudo-terminal: what is read, what a program gets. Bare
    roots (chroot, some containers) have no devices for it."""
    try:
        return os.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal here ({error}): mount /dev/pts")


def build_option(build, name):
    """The value of a Meson option of the build folder."""
    listed = json.loads(
        (build / "meson-info/intro-buildoptions.json").read_text())
    return {option["name"]: option["value"] for option in listed}[name]
