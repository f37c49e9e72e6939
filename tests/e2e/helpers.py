"""What the end-to-end tests share: files of pairs and readings of output."""

import json
import os

import pytest


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
