"""An installed crossrank works from where it stands: the program finds the
model that was installed with it, and others can build against the library."""

import json
import os
import shlex
import shutil
import subprocess

import pytest

PAIRS = b"what is gelato\tGelato is a frozen dessert.\nflow\tAir over a plate.\n"
EXAMPLE = """
#include <crossrank.h>
#include <stdio.h>
int main(int argc, char **argv) {
    cr_options options;
    cr_ranker *ranker;
    cr_error error;
    float score;
    cr_pair pair = {{"flow", 4}, {"Air over a plate.", 17}};
    cr_options_init(&options);
    options.model = argc > 1 ? argv[1] : "";
    if (cr_ranker_open(&options, &ranker, &error) != CR_OK ||
        cr_score(ranker, &pair, 1, &score, &error) != CR_OK) {
        fprintf(stderr, "%s\\n", error.message);
        return 1;
    }
    printf("%.9g\\n", (double)score);
    cr_ranker_close(ranker);
    return 0;
}
"""


def build_option(build, name):
    options = json.loads(
        (build / "meson-info/intro-buildoptions.json").read_text())
    return next(o["value"] for o in options if o["name"] == name)


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    """The prefix of an installation in a folder of its own."""
    if not shutil.which("meson"):
        pytest.skip("meson is not installed")
    destination = tmp_path_factory.mktemp("install")
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet",
                    "--destdir", destination], check=True, capture_output=True)
    return destination / build_option(build, "prefix").lstrip("/")


def score(program, *arguments):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith("CROSSRANK_")}
    return subprocess.run([program, "score", *arguments, "-"], input=PAIRS,
                          capture_output=True, cwd="/", env=environment)


def test_same_scores_as_the_build(installed, build):
    want = score(build / "crossrank")
    got = score(installed / "bin/crossrank")
    assert got.returncode == 0, got.stderr
    assert len(got.stdout.splitlines()) == 2
    assert got.stdout == want.stdout


def test_finds_the_installed_model(installed):
    """Shown by spoiling it: the program must then fail, and name it."""
    config = (installed / "share/crossrank/models/crossrank-minilm-l6"
              / "config.json")
    sound = config.read_text()
    config.write_text("{}")
    try:
        done = score(installed / "bin/crossrank")
    finally:
        config.write_text(sound)
    assert done.returncode == 3
    assert b"crossrank/models/crossrank-minilm-l6" in done.stderr


def test_library_builds_and_scores(installed, build, tmp_path):
    compiler = os.environ.get("CC", "cc").split()
    if not shutil.which(compiler[0]) or not shutil.which("pkg-config"):
        pytest.skip(f"{compiler[0]} or pkg-config is not installed")
    if build_option(build, "b_sanitize") != "none":
        pytest.skip("a sanitized library wants a sanitized program")
    package = next(installed.rglob("crossrank.pc"))
    flags = subprocess.run(
        ["pkg-config", f"--define-variable=prefix={installed}", "--cflags",
         "--libs", "crossrank"],
        env=dict(os.environ, PKG_CONFIG_PATH=str(package.parent)),
        capture_output=True, text=True, check=True).stdout
    library = next(installed.rglob("libcrossrank.so")).parent
    source = tmp_path / "example.c"
    source.write_text(EXAMPLE)
    subprocess.run([*compiler, source, "-o", tmp_path / "example",
                    *shlex.split(flags)], check=True)
    done = subprocess.run(
        [tmp_path / "example",
         installed / "share/crossrank/models/crossrank-minilm-l6"],
        env=dict(os.environ, LD_LIBRARY_PATH=str(library)),
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = score(build / "crossrank").stdout.decode().splitlines()
    assert done.stdout.strip() == lines[1]
