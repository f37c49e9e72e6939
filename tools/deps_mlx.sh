#!/bin/sh
# deps_mlx.sh FOLDER: MLX and its C interface, for the mlx backend.
#
# Linux: MLX's CPU build from PyPI (the wheel mlx-cpu) and mlx-c's source from
# crates.io (in the crate mlx-sys), compiled against it. MLX has no stable ABI,
# so the two versions belong together. What is fetched is pinned and its
# SHA-256 checked. Does nothing where FOLDER has these versions already.
#
# FOLDER/include and FOLDER/lib are what meson looks for; FOLDER/runtime is
# what an installed backend needs.
set -eu

MLX=0.32.2
MLXC=0.7.0
WHEEL=fc5d31b90fc4f457b2f9614ed45651a567d22a6a11a03d114a90a4e10bdd8878
CRATE=da965f83ce211b80f9b681d9bbd6fa625fe6bb2e659ba7bc55dd95eea8d3b028
SOURCES='array closure compile cuda device error fast io io_types map memory
metal ops stream string transforms vector version'

say() { printf 'deps_mlx: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ $# = 1 ] || die "usage: deps_mlx.sh FOLDER"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
mark="mlx $MLX, mlx-c $MLXC"
if [ "$(cat "$folder/versions" 2>/dev/null)" = "$mark" ]; then
    say "$mark: already in $1"
    exit 0
fi
case $(uname -s)-$(uname -m) in
Linux-x86_64) ;;
*) die "no pinned MLX for $(uname -s) on $(uname -m); on macOS: brew install mlx-c" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(cd "$(dirname "$0")" && pwd)

say "fetching the wheel mlx-cpu $MLX"
printf 'mlx-cpu==%s --hash=sha256:%s\n' "$MLX" "$WHEEL" >"$work/wheel.txt"
python3 -m pip download --quiet --no-deps --only-binary :all: \
    --require-hashes -r "$work/wheel.txt" -d "$work" >&2
python3 -m zipfile -e "$work"/mlx_cpu-*.whl "$work/wheel"

say "fetching the crate mlx-sys $MLXC"
mkdir -p "$work/fetch/src"
: >"$work/fetch/src/lib.rs"
cat >"$work/fetch/Cargo.toml" <<CARGO
[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
[dependencies]
mlx-sys = "=$MLXC"
CARGO
(cd "$work/fetch" && cargo vendor --quiet vendor >/dev/null)
source=$work/fetch/vendor/mlx-sys/src/mlx-c
got=$(sed -n 's/.*"package":"\([0-9a-f]*\)".*/\1/p' \
    "$work/fetch/vendor/mlx-sys/.cargo-checksum.json")
[ "$got" = "$CRATE" ] || die "mlx-sys $MLXC has SHA-256 $got, not $CRATE"
grep -q "GIT_TAG v$MLX)" "$source/CMakeLists.txt" ||
    die "mlx-c $MLXC is not made for MLX $MLX"

say "compiling mlx-c $MLXC against MLX $MLX"
rm -f "$folder/versions"
for part in include lib runtime licenses; do rm -rf "${folder:?}/$part"; done
mkdir -p "$work/shim" "$work/obj" "$folder/include/mlx" "$folder/lib"
cp "$here/mlx_format_shim.h" "$work/shim/format"
for name in $SOURCES; do echo "$name"; done |
    xargs -P 2 -I{} g++ -std=c++20 -O1 -fPIC -fvisibility=hidden \
        -I"$work/shim" -include format -I"$source" \
        -I"$work/wheel/mlx/include" -c "$source/mlx/c/{}.cpp" \
        -o "$work/obj/{}.o"
ar rcs "$folder/lib/libmlxc.a" "$work"/obj/*.o
cp -R "$source/mlx/c" "$folder/include/mlx/c"
rm -f "$folder"/include/mlx/c/*.cpp
mkdir -p "$folder/runtime/mlx/lib" "$folder/licenses"
cp "$work/wheel/mlx/lib/libmlx.so" "$folder/runtime/mlx/lib/"
cp -R "$work/wheel/mlx_cpu.libs" "$folder/runtime/"
cp "$work"/wheel/mlx_cpu-*.dist-info/licenses/LICENSE "$folder/licenses/MLX"
cp "$source/LICENSE" "$folder/licenses/mlx-c" 2>/dev/null || true
printf '%s\n' "$mark" >"$folder/versions"
say "$mark: in $1"
