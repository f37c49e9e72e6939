"""Man pages and shell completions say what the program's --help says."""

import importlib.util
import re
import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def generator(root):
    spec = importlib.util.spec_from_file_location(
        "gen_cli_docs", root / "tools/gen_cli_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def helps(crossrank):
    """Command -> the options that its --help lists, read in a way of its own."""
    text = crossrank("--help").stdout.decode()
    names = re.findall(r"^  (\w+) {3,}\S",
                       text.split("commands:")[1].split("\n\n")[0], re.M)
    assert len(names) >= 5
    found = {name: re.findall(r"^  (?:-\w, )?--([\w-]+)",
                              crossrank(name, "--help").stdout.decode(), re.M)
             for name in names}
    assert all("help" in options for options in found.values())
    return found


def test_files_are_what_the_generator_writes(root, build, generator):
    stale = [path for path, text in
             generator.generate(build / "crossrank").items()
             if (root / path).read_text() != text]
    assert not stale, "run tools/gen_cli_docs.py build/crossrank"


# ---- Man pages --------------------------------------------------------------


def rendered(path):
    if not shutil.which("groff"):
        pytest.skip("no groff here")
    done = subprocess.run(["groff", "-man", "-Tascii", "-P-cbou", "-ww", path],
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def test_man_page_of_the_program_has_every_command_and_option(root, helps):
    page = (root / "man/crossrank.1").read_text().replace("\\-", "-")
    for command, options in helps.items():
        assert f"\n.SS crossrank {command}\n" in page
        for option in options:
            assert f"--{option}" in page, f"{command} --{option}"


def test_man_page_of_the_library_has_every_function(root):
    header = (root / "include/crossrank.h").read_text()
    functions = set(re.findall(r"^(?:CR_API|static inline) [^(;]*?(cr_\w+)\(",
                               header, re.M))
    page = (root / "man/crossrank.3").read_text()
    synopsis = page.split(".SH SYNOPSIS")[1].split(".SH")[0]
    assert set(re.findall(r"(cr_\w+)\(", synopsis)) == functions
    statuses = re.findall(r"^    (CR_(?:OK|ERR_\w+))", header, re.M)
    assert all(status in page for status in statuses)


def test_man_pages_are_sound_roff(root):
    version = re.search(r"version: '(.*?)'",
                        (root / "meson.build").read_text())[1]
    for page in ("crossrank.1", "crossrank.3"):
        assert f"crossrank {version}" in rendered(root / "man" / page)


# ---- Completions ------------------------------------------------------------


def complete(root, *words):
    """What bash offers for the last of the words."""
    script = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _crossrank; printf '%s\\n' "${COMPREPLY[@]}" """
    done = subprocess.run(
        ["bash", "-c", script, "bash", root / "completions/crossrank.bash",
         "crossrank", *words], text=True, capture_output=True, cwd=root)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def bash_here():
    if not shutil.which("bash"):
        pytest.skip("no bash here")


def test_bash_completes_commands_and_options(root, helps, bash_here):
    assert set(complete(root, "")) == {*helps, "help", "--help", "--version"}
    assert set(complete(root, "help", "")) == set(helps)
    for command, options in helps.items():
        assert set(complete(root, command, "-")) \
            == {f"--{option}" for option in options}
        assert complete(root, command, "--dty") \
            == ["--dtype"] * ("dtype" in options)


def test_bash_completes_values(root, bash_here):
    assert complete(root, "score", "--dtype", "") \
        == ["auto", "fp32", "fp16", "bf16", "int8"]
    assert complete(root, "score", "--format", "t") == ["tsv"]
    assert complete(root, "rank", "--format", "t") == ["text"]
    assert complete(root, "score", "--model", "mod") == ["models"]
    assert complete(root, "score", "READ") == ["README.md"]
    assert complete(root, "score", "--threads", "4", "READ") == ["README.md"]


@pytest.mark.parametrize("shell, path", [
    ("bash", "completions/crossrank.bash"), ("zsh", "completions/_crossrank"),
    ("fish", "completions/crossrank.fish")])
def test_completion_has_every_option_and_parses(root, helps, shell, path):
    text = (root / path).read_text()
    for command, options in helps.items():
        if shell == "bash":
            listed = re.findall(rf"^    +{command}\) words='(.*)'", text, re.M)
            found = re.findall(r"--([\w-]+)", listed[0])
        elif shell == "zsh":
            part = text.split(f"\n    {command})\n")[1].split(";;")[0]
            found = re.findall(r"'--([\w-]+)", part)
        else:
            found = re.findall(rf"_from {command}' -l ([\w-]+)", text)
        assert sorted(found) == sorted(options)
    if shutil.which(shell):
        subprocess.run([shell, "-n", root / path], check=True)


def test_fish_completes(root):
    if not shutil.which("fish"):
        pytest.skip("no fish here")
    script = ('source completions/crossrank.fish; '
              'complete -C "crossrank score --dty"; '
              'complete -C "crossrank score --dtype "')
    done = subprocess.run(["fish", "-c", script], text=True, cwd=root,
                          capture_output=True, check=True)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] \
        == ["--dtype", "auto", "bf16", "fp16", "fp32", "int8"]
