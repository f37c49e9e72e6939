"""The compiled inner loops keep a tile's sums in registers.

A compiler that runs out of registers, or does not unroll where it was asked
to, keeps sums on the stack: the results stay right, at as little as a third
of the speed. So the object code is looked at: an innermost loop with as many
multiply-adds as a tile has must not write a vector to the stack. Reading one
there is no fault of its own; it may be a constant.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("CROSSRANK_BUILD", ROOT / "build"))

# Each library with what its loops multiply by.
KERNELS = {
    "kernels_avx2": ("vfmadd", "vpmaddwd"),
    "kernels_avx512": ("vfmadd", "vpmaddwd"),
    "kernels_gemm_bf16_avx512": ("vdpbf16ps",),
    "kernels_gemm_int8_vnni": ("vpdpbusd",),
}
FEWEST = 6  # multiply-adds of a loop that counts: a tile, not a row's sum

INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+) *(.*)$")
TARGET = re.compile(r"([0-9a-f]+) <")
STORE = re.compile(r"^%[yz]mm\d+,-?(0x)?[0-9a-f]*\(%r[sb]p")


def functions(text):
    """Lists of (address, mnemonic, operands), one list a function."""
    found = []
    for line in text.splitlines():
        if line.endswith(">:"):
            found.append([])
        elif found and (match := INSTRUCTION.match(line)):
            found[-1].append((int(match[1], 16), match[2], match[3]))
    return found


def innermost_loops(code):
    """Runs of instructions from a backward jump's target to that jump which
    hold no other such run."""
    place = {address: i for i, (address, *_) in enumerate(code)}
    runs = set()
    for i, (_, name, operands) in enumerate(code):
        target = TARGET.match(operands) if name.startswith("j") else None
        start = place.get(int(target[1], 16)) if target else None
        if start is not None and start <= i:
            runs.add((start, i))
    return [code[a:b + 1] for a, b in runs
            if not any(a <= c and d <= b for c, d in runs - {(a, b)})]


def tile_loops(text, multiplies):
    return [loop for code in functions(text) for loop in innermost_loops(code)
            if sum(name.startswith(multiplies) for _, name, _ in loop)
            >= FEWEST]


def spills(loops):
    return [f"{address:x}: {name} {operands}" for loop in loops
            for address, name, operands in loop
            if name.startswith("vmov") and STORE.match(operands)]


def object_code(library):
    archive = BUILD / "src/kernels" / f"lib{library}.a"
    if not archive.exists():
        pytest.skip(f"{library} is not built for this machine")
    if not shutil.which("objdump"):
        pytest.skip("objdump is not installed")
    return subprocess.run(["objdump", "-d", "--no-show-raw-insn", archive],
                          capture_output=True, text=True, check=True).stdout


def need_plain_clang():
    """Skips builds that make no promise about registers."""
    commands = BUILD / "compile_commands.json"
    if not commands.exists():
        pytest.skip("there is no build")
    words = shlex.split(json.loads(commands.read_text())[0]["command"])
    if any(word.startswith("-fsanitize") for word in words):
        pytest.skip("instrumented code uses the stack as it likes")
    if not any("clang" in pathlib.Path(word).name for word in words[:2]):
        pytest.skip("not built by clang; gcc 12 spills some of its tiles")


@pytest.mark.parametrize("library", KERNELS)
def test_sums_stay_in_registers(library):
    need_plain_clang()
    loops = tile_loops(object_code(library), KERNELS[library])
    assert loops, "no inner loop was recognised"
    assert spills(loops) == [], "see CR_UNROLL and CR_NO_UNROLL of vec16.h"


SAMPLE = """
0000000000000000 <tile>:
   0:\tvmovaps %zmm9,0x40(%rsp)
   8:\tvfmadd231ps %zmm1,%zmm2,%zmm3
{inside}  20:\tvfmadd231ps %zmm1,%zmm2,%zmm5
  28:\tjne    8 <tile+0x8>
  30:\tvmovaps %zmm9,0x80(%rsp)
  38:\tjmp    0 <tile>
"""


@pytest.mark.parametrize("inside, expected", [
    ("", 0),
    ("  10:\tvmovaps %zmm7,0xc0(%rsp)\n", 1),
    ("  10:\tvmovups %ymm7,(%rsp)\n", 1),
    ("  10:\tvmovups %zmm7,0xc0(%rax)\n", 0),
    ("  10:\tvmovaps 0xc0(%rsp),%zmm7\n", 0),
])
def test_the_check_sees_a_spill(inside, expected, monkeypatch):
    monkeypatch.setitem(globals(), "FEWEST", 2)
    loops = tile_loops(SAMPLE.format(inside=inside), ("vfmadd",))
    assert len(loops) == 1 and len(spills(loops)) == expected
