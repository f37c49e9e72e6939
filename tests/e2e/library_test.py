"""The C library as others get it: installed under a prefix, found by
pkg-config, linked shared and static, from C and from C++. What it exports is
what crossrank.h declares and nothing else."""

import os
import re
import shutil
import subprocess

import pytest

from helpers import build_option

MODEL = "models/crossrank-minilm-l6"
PREFIX = "usr/test"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
RANK = ["what is the capital of Italy", "Paris is the capital of France.",
        "Rome, on the Tiber, has been the capital of Italy since 1871.",
        "Gelato is made with less air than other ice cream."]


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), text=True, timeout=300,
                          capture_output=True, stdin=subprocess.DEVNULL,
                          **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def plain_build(build):
    """Programs of others are not built with our sanitizers."""
    sanitizer = build_option(build, "b_sanitize")
    if sanitizer != "none":
        pytest.skip(f"the library is built with -fsanitize={sanitizer}")


@pytest.fixture(scope="module")
def library(build):
    found = build / "libcrossrank.so"
    if not found.exists():
        pytest.skip("no libcrossrank.so: the tools here read ELF only")
    return found


class Installed:
    """A prefix with the library, and compilers that find it there."""

    def __init__(self, folder):
        self.prefix = folder / PREFIX
        self.lib = next(folder.rglob("crossrank.pc")).parent.parent
        self.environment = dict(
            os.environ, PKG_CONFIG_PATH=str(self.lib / "pkgconfig"))

    def pkg_config(self, *arguments):
        return run("pkg-config", f"--define-variable=prefix={self.prefix}",
                   *arguments, "crossrank", env=self.environment).split()

    def compile(self, compiler, source, program, *flags, static=False):
        standard = "-std=c++11" if source.suffix == ".cpp" else "-std=c11"
        found = self.pkg_config("--cflags", "--libs",
                                *(["--static"] if static else []))
        run(compiler, standard, "-D_POSIX_C_SOURCE=200809L", *WARNINGS, *flags,
            source, *found, "-pthread", f"-Wl,-rpath,{self.lib}", "-o",
            program)
        return program


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    run("meson", "install", "-C", build, "--no-rebuild", "--destdir", folder)
    prefix = folder / build_option(build, "prefix").lstrip("/")
    (folder / PREFIX).parent.mkdir(parents=True, exist_ok=True)
    if prefix != folder / PREFIX:
        prefix.rename(folder / PREFIX)
    return Installed(folder)


@pytest.fixture(scope="module")
def archive_only(installed, tmp_path_factory):
    """The same prefix as a distribution without shared libraries has it."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copytree(installed.prefix, folder / PREFIX, symlinks=True,
                    ignore=shutil.ignore_patterns("*.so*", "models", "bin"))
    return Installed(folder)


def compilers(*names):
    return [pytest.param(name, marks=pytest.mark.skipif(
        not shutil.which(name), reason=f"no {name} here")) for name in names]


# ---- What is exported -------------------------------------------------------


def declared(root):
    header = (root / "include/crossrank.h").read_text()
    return set(re.findall(r"^CR_API [^(;]*?\b(cr_\w+)\(", header, re.M))


def test_library_exports_the_header_and_nothing_else(root, library):
    symbols = [line.split()[-1] for line in
               run("nm", "-D", "--defined-only", library).splitlines()
               if " A " not in line]
    names = dict(s.split("@@") for s in symbols)
    assert set(names) == declared(root)
    assert all(re.fullmatch(r"CROSSRANK_\d+", v) for v in names.values())


def test_archive_hides_what_the_header_does_not_declare(root, build):
    """Hidden symbols do not leave a shared library that takes the archive
    in."""
    listed = run("readelf", "--syms", "--wide", build / "libcrossrank.a")
    visible = {fields[7] for line in listed.splitlines()
               if len(fields := line.split()) == 8
               and fields[4] in ("GLOBAL", "WEAK") and fields[5] == "DEFAULT"
               and fields[6] != "UND"}
    assert visible == declared(root)


def test_library_has_a_soname_and_few_needs(library):
    dynamic = run("readelf", "-d", library)
    assert "soname: [libcrossrank.so.0]" in dynamic
    needed = set(re.findall(r"Shared library: \[(.*?)\.so", dynamic))
    assert needed <= {"libc", "libm", "libjansson", "libpthread",
                      "ld-linux-x86-64", "ld-linux-aarch64"}


# ---- The header -------------------------------------------------------------


@pytest.mark.parametrize("compiler", compilers("gcc", "clang"))
@pytest.mark.parametrize("standard", ["c11", "c17", "gnu11"])
def test_header_is_clean_c(root, tmp_path, compiler, standard):
    (tmp_path / "a.c").write_text(
        '#include <crossrank.h>\n#include <crossrank.h>\n'
        'int main(void) { return *cr_version() == 0; }\n')
    run(compiler, f"-std={standard}", *WARNINGS, "-Wstrict-prototypes",
        "-Wconversion", "-c", f"-I{root / 'include'}", tmp_path / "a.c",
        "-o", tmp_path / "a.o")


@pytest.mark.parametrize("compiler", compilers("g++", "clang++"))
@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_header_is_clean_cpp(root, tmp_path, compiler, standard):
    (tmp_path / "a.cpp").write_text(
        '#include <crossrank.h>\n'
        'int main() { return *cr_version() == 0; }\n')
    run(compiler, f"-std={standard}", *WARNINGS, "-Wconversion",
        "-Wold-style-cast", "-Wzero-as-null-pointer-constant", "-c",
        f"-I{root / 'include'}", tmp_path / "a.cpp", "-o", tmp_path / "a.o")


# ---- The examples -----------------------------------------------------------


def test_pkg_config_states_version_and_private_needs(root, installed):
    version = re.search(r"version: '(.*?)'",
                        (root / "meson.build").read_text())[1]
    assert installed.pkg_config("--modversion") == [version]
    assert "-ljansson" not in installed.pkg_config("--libs")
    assert "-ljansson" in installed.pkg_config("--static", "--libs")


@pytest.mark.parametrize("compiler", compilers("gcc", "clang"))
def test_c_example_ranks(root, installed, tmp_path, compiler):
    rank = installed.compile(compiler, root / "examples/rank.c",
                             tmp_path / "rank")
    lines = run(rank, root / MODEL, *RANK).splitlines()
    assert len(lines) == 3 and "Rome" in lines[0]


@pytest.mark.parametrize("compiler", compilers("g++", "clang++"))
def test_cpp_example_ranks_as_the_c_one(root, installed, tmp_path, compiler):
    c = installed.compile("cc", root / "examples/rank.c", tmp_path / "c")
    cpp = installed.compile(compiler, root / "examples/rank.cpp",
                            tmp_path / "cpp")
    assert run(cpp, root / MODEL, *RANK) == run(c, root / MODEL, *RANK)


@pytest.mark.parametrize("source, compiler", [("rank.c", "cc"),
                                              ("rank.cpp", "c++")])
def test_examples_say_what_is_wrong(root, installed, tmp_path, source,
                                    compiler):
    rank = installed.compile(compiler, root / "examples" / source,
                             tmp_path / "rank")
    done = subprocess.run([rank, tmp_path / "none", *RANK], text=True,
                          capture_output=True)
    assert done.returncode == 1
    assert f"{tmp_path / 'none'}: cannot open the model folder" in done.stderr


def test_example_with_many_threads_agrees(root, installed, tmp_path):
    program = installed.compile(
        "cc", root / "examples/score_many_threads.c", tmp_path / "threads")
    assert run(program, root / MODEL).endswith("8 threads: equal to the bit\n")


def test_archive_alone_serves_pkg_config_static(root, installed, archive_only,
                                                tmp_path):
    """Kernels included: equal output to the shared library's."""
    source = root / "examples/rank.c"
    shared = installed.compile("cc", source, tmp_path / "shared")
    static = archive_only.compile("cc", source, tmp_path / "static",
                                  static=True)
    assert "libcrossrank" in run("ldd", shared)
    assert "libcrossrank" not in run("ldd", static)
    assert run(static, root / MODEL, *RANK) == run(shared, root / MODEL, *RANK)


def test_archive_makes_a_program_without_any_library(root, archive_only,
                                                     tmp_path):
    jansson = run("cc", "-print-file-name=libjansson.a").strip()
    if not os.path.isabs(jansson):
        pytest.skip("no libjansson.a here")
    program = archive_only.compile(
        "cc", root / "examples/rank.c", tmp_path / "rank", "-static",
        static=True)
    assert "Rome" in run(program, root / MODEL, *RANK).splitlines()[0]
    assert "NEEDED" not in run("readelf", "-d", program)


# ---- docs/LIBRARY.md --------------------------------------------------------


def test_example_of_the_docs_scores(root, installed, tmp_path):
    page = (root / "docs/LIBRARY.md").read_text()
    source = tmp_path / "example.c"
    source.write_text(re.search(r"```c\n(.*?)```", page, re.S)[1])
    example = installed.compile("cc", source, tmp_path / "example")
    assert float(run(example, root / MODEL)) > 0
    assert run(example, cwd=root) == run(example, root / MODEL)
