#!/usr/bin/env python3
"""Writes a file as a C array, for what the program serves from itself:

    tools/embed.py INPUT NAME OUTPUT.c

gives `const unsigned char NAME[]` and `const size_t NAME_bytes`."""

import pathlib
import sys


def main(source, name, target):
    data = pathlib.Path(source).read_bytes()
    lines = [",".join(map(str, data[i:i + 20]))
             for i in range(0, len(data), 20)]
    pathlib.Path(target).write_text(
        "#include <stddef.h>\n"
        f"extern const unsigned char {name}[];\n"
        f"extern const size_t {name}_bytes;\n"
        f"const unsigned char {name}[] = {{\n" + ",\n".join(lines) + "};\n"
        f"const size_t {name}_bytes = sizeof {name};\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
