#!/bin/sh
# deps_tokenizers.sh FOLDER: Hugging Face `tokenizers` as an archive with a C
# interface, for byte-level BPE and Unigram vocabularies.
#
# components/tokenizers is compiled with the crates that its Cargo.lock pins,
# each checked by its SHA-256. Does nothing where FOLDER has it already.
#
# FOLDER/lib is what meson looks for; FOLDER/licenses goes with the module,
# which holds all crates; FOLDER/versions says what was built.
set -eu

RUST=1.85 # the least that the pinned crates take

say() { printf 'deps_tokenizers: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ $# = 1 ] || die "usage: deps_tokenizers.sh FOLDER"
crate=$(cd "$(dirname "$0")/../components/tokenizers" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
version=$(sed -n 's/^tokenizers = .*version = "=\([^"]*\)".*/\1/p' \
    "$crate/Cargo.toml")
sum=$(cat "$crate/Cargo.toml" "$crate/Cargo.lock" "$crate/src/lib.rs" |
    cksum | tr ' ' -)
mark="$version $sum"
if [ "$(cat "$folder/versions" 2>/dev/null)" = "$mark" ]; then
    say "tokenizers $version: already in $1"
    exit 0
fi

is=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
[ "$(printf '%s\n%s\n' "$RUST" "$is" | sort -V | head -n 1)" = "$RUST" ] ||
    die "cargo is $is, $RUST is the least; on Debian 12: apt-get install cargo-web"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "fetching tokenizers $version and what it needs"
cp -R "$crate/Cargo.toml" "$crate/Cargo.lock" "$crate/src" "$work/"
cd "$work"
mkdir .cargo
cargo vendor --quiet --locked vendor >.cargo/config.toml

say "compiling tokenizers $version"
rm -f "$folder/versions"
cargo build --quiet --release --locked --offline \
    --target-dir "$work/target" >&2
rm -rf "${folder:?}/lib" "${folder:?}/licenses"
mkdir -p "$folder/lib" "$folder/licenses"
cp "$work/target/release/libcrossrank_tokenizers.a" "$folder/lib/"
for path in vendor/*/; do
    name=$(basename "$path")
    for license in "$path"LICENSE* "$path"COPYING* "$path"UNLICENSE*; do
        [ -f "$license" ] || continue
        mkdir -p "$folder/licenses/$name"
        cp "$license" "$folder/licenses/$name/"
    done
done
printf '%s\n' "$mark" >"$folder/versions"
say "tokenizers $version: in $1"
