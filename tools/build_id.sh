#!/bin/sh
# build_id.sh SOURCE OUTPUT VERSION: writes OUTPUT, a header with CR_BUILD_ID,
# a name of what a program and its backend modules share: the code that lies
# under both. OUTPUT is left alone where it says so already.
set -eu
source=$1 output=$2 version=$3
sum=$(cd "$source" &&
    find include src/base src/text src/model src/engine -name '*.[ch]' |
    LC_ALL=C sort | xargs cat | cksum | tr ' ' -)
line="#define CR_BUILD_ID \"$version-$sum\""
[ "$(cat "$output" 2>/dev/null)" = "$line" ] || printf '%s\n' "$line" >"$output"
