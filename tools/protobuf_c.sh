#!/bin/sh
# protobuf_c.sh PROTOC_C FILE.proto FOLDER: writes FOLDER/FILE.pb-c.{c,h} for a
# file of proto/. On the way strings become bytes, so that C sees lengths and
# not NULs, and an optional field the oneof of itself that it is on the wire:
# protobuf-c 1.4 does not know optional fields of proto3.
set -eu
name=${2##*/}
part=$3/c_side
mkdir -p "$part"
sed -E \
    -e 's/^( *)optional ([a-z0-9]+) ([a-z_]+) = ([0-9]+);/\1oneof has_\3 { \2 \3 = \4; }/' \
    -e 's/^( *)(repeated |oneof [a-z_]+ \{ )?string /\1\2bytes /' \
    "$2" >"$part/$name"
"$1" "--c_out=$3" "-I$part" "$part/$name"
