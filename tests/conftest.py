"""What every Python test may ask for: the build to test, the shared data, and
a way to run the program. The build folder is CROSSRANK_BUILD (default build),
the shared data CROSSRANK_SHARED (default ../shared beside the project)."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def build():
    folder = pathlib.Path(os.environ.get("CROSSRANK_BUILD", ROOT / "build"))
    if not (folder / "crossrank").exists():
        pytest.fail(f"no program in {folder}: run ./run build first")
    return folder.resolve()


@pytest.fixture(scope="session")
def slower():
    """By what factor a sanitizer build may exceed a time limit."""
    return float(os.environ.get("CROSSRANK_SLOWER", "1"))


@pytest.fixture(scope="session")
def wrapper():
    """What programs of the build are run by: an emulator, or nothing."""
    return os.environ.get("CROSSRANK_WRAPPER", "").split()


@pytest.fixture(scope="session")
def shared():
    folder = pathlib.Path(os.environ.get("CROSSRANK_SHARED",
                                         ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"the shared data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def crossrank(build, slower, wrapper):
    """crossrank(*arguments, stdin=b"", seconds=60) -> CompletedProcess, with
    bytes; it may fail."""
    def run(*arguments, stdin=b"", seconds=60, **options):
        return subprocess.run(
            [*wrapper, build / "crossrank", *map(str, arguments)], input=stdin,
            capture_output=True, timeout=seconds * slower, **options)
    return run


@pytest.fixture(scope="session")
def hf_tokenizers(build):
    """Skips where the component for byte-level BPE and Unigram is not built."""
    module = build / "libcrossrank-tokenizers.so"
    if not module.exists():
        pytest.skip("no libcrossrank-tokenizers.so: ./run deps-tokenizers, "
                    "then build")
    return module


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A model so small that a hundred thousand pairs take seconds: for tests
    of streams and memory, which do not care what the scores are."""
    folder = tmp_path_factory.mktemp("tiny-model")
    subprocess.run([sys.executable, ROOT / "tools" / "make_tiny_model.py",
                    folder, "--layers", "1", "--positions", "512"],
                   check=True)
    return folder


@pytest.fixture(scope="session")
def tiny(crossrank, tiny_model):
    """crossrank() with the tiny model, where --model names no other."""
    def run(*arguments, **options):
        return crossrank(*arguments, **options, env={
            **os.environ, "CROSSRANK_MODEL": str(tiny_model)})
    return run
