#!/usr/bin/env python3
"""Writes what repeats the program's --help: man/crossrank.1 (its frame is
man/crossrank.1.in) and the completions of bash, zsh and fish. Run it after a
command or an option has changed:

    tools/gen_cli_docs.py build/crossrank

tests/e2e/cli_docs_test.py fails where the files are not what this writes.
"""

import collections
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGETS = {"man": "man/crossrank.1", "bash": "completions/crossrank.bash",
           "zsh": "completions/_crossrank", "fish": "completions/crossrank.fish"}
# Options that so many commands have stand in a section of their own.
MIN_COMMON = 4


class Option(NamedTuple):
    name: str
    letter: str
    value: str  # "" for a flag
    text: str

    @property
    def choices(self):
        if self.value == "BOOL":
            return ["true", "false"]
        found = self.value and re.search(
            r"(?:one of|\(default:? [^()]*\)): ([\w, -]+)$", self.text)
        return found[1].split(", ") if found else []

    @property
    def is_folder(self):
        return self.name == "model"

    @property
    def brief(self):
        """Without default and choices."""
        return re.split(r" \(|, one of: ", self.text)[0]


class Command(NamedTuple):
    name: str
    summary: str
    usage: str
    about: str
    options: list
    examples: str


# ---- Reading ----------------------------------------------------------------


def ask(program, *arguments):
    return subprocess.run([program, *arguments, "--help"], check=True,
                          text=True, capture_output=True).stdout


def read_options(text):
    options = []
    for line in text.splitlines():
        head = re.match(r"  (?:-(\w), )?--([\w-]+)"
                        r"(?: ([A-Z][A-Z/]*)(?= |$))?(?: +(.*))?$", line)
        if head:
            letter, name, value, first = (part or "" for part in head.groups())
            options.append(Option(name, letter, value, first))
        else:
            last = options[-1]
            options[-1] = last._replace(
                text=f"{last.text} {line.strip()}".strip())
    return options


def read_command(program, name, summary):
    text = ask(program, name)
    usage, _, rest = text.partition("\n\n")
    about, _, rest = rest.partition("\noptions:\n")
    options, _, examples = rest.partition("\nexamples:\n")
    return Command(name, summary, usage.removeprefix("usage: "),
                   about.strip("\n"), read_options(options), examples)


def read(program):
    """The program's version, its commands, and its help's last paragraphs."""
    text = ask(program)
    listed = re.search(r"\ncommands:\n(.*?)\n\n", text, re.S)[1]
    commands = [read_command(program, *line.split(None, 1))
                for line in listed.splitlines()]
    return re.match(r"crossrank (\S+):", text)[1].rstrip(":"), commands


# ---- The man page -----------------------------------------------------------


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def roff_paragraphs(text):
    """Paragraphs filled, lines that are indented as they are."""
    lines = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("  "):
            lines += [".PP", ".nf", roff(paragraph), ".fi"]
        else:
            lines += [".PP", roff(paragraph)]
    return lines


def roff_option(option):
    head = f".B \\-\\-{roff(option.name)}"
    if option.letter:
        head = f".B \\-{option.letter}\\fR, \\fB\\-\\-{roff(option.name)}"
    if option.value:
        head += f" \\fI{roff(option.value)}"
    return [".TP", head, roff(option.text)]


def man_page(version, commands):
    count = collections.Counter(o for c in commands for o in c.options)
    common = [o for o in commands[0].options if count[o] >= MIN_COMMON]
    lines = []
    for command in commands:
        lines += [f".SS crossrank {command.name}", roff(command.summary) + ".",
                  ".PP", f".B {roff(command.usage)}",
                  *roff_paragraphs(command.about)]
        for option in command.options:
            if option not in common:
                lines += roff_option(option)
        if any(option in common for option in command.options):
            lines += [".PP", "The options of all commands, below, apply too."]
        lines += [".PP", "Examples:", ".PP", ".nf",
                  roff(command.examples.rstrip("\n")), ".fi"]
    frame = (ROOT / "man/crossrank.1.in").read_text()
    frame = re.sub(r'^\.\\".*\n', "", frame, flags=re.M)
    shared = [line for option in common for line in roff_option(option)]
    return (frame.replace("@VERSION@", version)
            .replace("@COMMANDS@", "\n".join(lines))
            .replace("@OPTIONS@", "\n".join(shared)))


# ---- Completions ------------------------------------------------------------


HEAD = "Written by tools/gen_cli_docs.py from the program's --help."


def bash(version, commands):
    names = " ".join(command.name for command in commands)
    values, options = [], []
    for command in commands:
        words = " ".join(f"--{o.name}" for o in command.options)
        options.append(f"    {command.name}) words='{words}' ;;")
        for option in command.options:
            place = f"    '{command.name} --{option.name}')"
            if option.choices:
                values.append(f"{place} words='{' '.join(option.choices)}' ;;")
            elif option.is_folder:
                values.append(f"{place} kind=-d ;;")
    return f"""\
# bash completion of crossrank. {HEAD}
_crossrank() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words='' kind=-f
    local command=${{COMP_WORDS[1]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen \\
            -W '{names} help --help --version' -- "$current")
        return
    fi
    case "$command $previous" in
    help\\ help) words='{names}' ;;
{chr(10).join(values)}
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    if [[ $current == -* ]]; then
        case $command in
{chr(10).join("    " + line for line in options)}
        esac
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    mapfile -t COMPREPLY < <(compgen "$kind" -- "$current")
    compopt -o filenames 2>/dev/null
}}
complete -F _crossrank crossrank
"""


def quoted(text):
    return text.replace("'", r"'\''")


def zsh(version, commands):
    def described(option):
        text = re.sub(r"([\[\]:\\])", r"\\\1", option.brief)
        spec = f"--{option.name}"
        if option.value:
            action = "_files -/" if option.is_folder else \
                f"({' '.join(option.choices)})" if option.choices else \
                "" if option.value == "N" else "_files"
            spec += f"=[{text}]:{option.value}:{action}"
        else:
            spec += f"[{text}]"
        return f"            '{quoted(spec)}' \\"
    listed = "\n".join(
        f"        '{command.name}:{quoted(command.summary)}'"
        for command in commands)
    cases = "\n".join("\n".join([
        f"    {command.name})",
        "        _arguments -s \\",
        *map(described, command.options),
        "            '*:file:_files' ;;"]) for command in commands)
    return f"""\
#compdef crossrank
# zsh completion of crossrank. {HEAD}
_crossrank() {{
    local -a commands
    commands=(
{listed}
        'help:explain a command'
    )
    if ((CURRENT == 2)); then
        if [[ $words[2] == -* ]]; then
            compadd -- --help --version
        else
            _describe -t commands command commands
        fi
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
    help) _describe -t commands command commands ;;
{cases}
    esac
}}
_crossrank "$@"
"""


def fish(version, commands):
    def line(condition, rest):
        return f"complete -c crossrank -n '{condition}' {rest}"
    start = "__fish_use_subcommand"
    lines = [f"# fish completion of crossrank. {HEAD}",
             line(start, "-l help -s h -d 'What the program does'"),
             line(start, "-l version -s V -d 'Its version'"),
             line(start, "-f -a help -d 'Explain a command'")]
    for command in commands:
        lines.append(line(start, f"-f -a {command.name} "
                          f"-d '{quoted_fish(command.summary)}'"))
        seen = f"__fish_seen_subcommand_from {command.name}"
        for option in command.options:
            values = ""
            if option.choices:
                values = f" -x -a '{' '.join(option.choices)}'"
            elif option.is_folder:
                values = " -x -a '(__fish_complete_directories)'"
            elif option.value:
                values = " -r"
            letter = f" -s {option.letter}" if option.letter else ""
            lines.append(line(seen, f"-l {option.name}{letter}{values} "
                              f"-d '{quoted_fish(option.brief)}'"))
    return "\n".join(lines) + "\n"


def quoted_fish(text):
    return text.replace("\\", "\\\\").replace("'", "\\'")


# ---- All of them ------------------------------------------------------------


def generate(program):
    """Path from the root -> text, of every file."""
    version, commands = read(program)
    makers = {"man": man_page, "bash": bash, "zsh": zsh, "fish": fish}
    return {TARGETS[name]: make(version, commands)
            for name, make in makers.items()}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for path, text in generate(pathlib.Path(sys.argv[1]).resolve()).items():
        (ROOT / path).write_text(text)
        print(path)


if __name__ == "__main__":
    main()
