#!/usr/bin/env python3
"""Writes files as C arrays: embed.py OUTPUT.c NAME=PATH..., for the program
to serve. An ETag is a hash of its file."""

import hashlib
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8",
         ".css": "text/css; charset=utf-8",
         ".json": "application/json",
         ".js": "text/javascript; charset=utf-8"}
FIND = """
const cr_web_file *cr_web_find(const char *name) {
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++)
        if (strcmp(FILES[i].name, name) == 0)
            return &FILES[i];
    return NULL;
}
"""


def main():
    arrays, rows = [], []
    for i, argument in enumerate(sys.argv[2:]):
        name, _, path = argument.partition("=")
        data = pathlib.Path(path).read_bytes()
        arrays.append(f"static const unsigned char FILE_{i}[] = {{"
                      + ",".join(map(str, data)) + "};\n")
        tag = hashlib.sha256(data).hexdigest()[:16]
        rows.append(f'    {{"{name}", "{TYPES[pathlib.Path(name).suffix]}", '
                    f'"\\"{tag}\\"", FILE_{i}, {len(data)}}},\n')
    pathlib.Path(sys.argv[1]).write_text(
        "#include \"web_files.h\"\n\n#include <string.h>\n"
        + "".join(arrays)
        + "static const cr_web_file FILES[] = {\n" + "".join(rows) + "};\n"
        + FIND)


if __name__ == "__main__":
    main()
