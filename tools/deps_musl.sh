#!/bin/sh
# deps_musl.sh FOLDER: the libraries that the program stands on, static and for
# musl, for one program that runs on any Linux (x86-64) without any of them.
#
# They are Debian's own source packages, patches and all, of the release that
# this machine runs, fetched and checked by apt: the security archive's version
# where it can be had, else the release's. Nothing is installed. Does nothing
# where FOLDER has them already.
#
# FOLDER/cross.txt is a cross file for Meson.
set -eu
# It says where the program goes; these stay in FOLDER.
unset DESTDIR

SOURCES='jansson openssl libyaml libmicrohttpd nghttp2 libuv1 protobuf-c curl'

say() { printf 'deps_musl: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ $# = 1 ] || die "usage: deps_musl.sh FOLDER"
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    die "only for Linux on x86-64, this is $(uname -s) on $(uname -m)"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
mark="$(cksum <"$0") $(cksum <"$here/cross/musl-clang") $SOURCES"
if [ "$(cat "$folder/made-by" 2>/dev/null)" = "$mark" ]; then
    say "already in $1"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- Fetching ----------------------------------------------------------------

# apt-get with lists of sources of its own; LIST.list says of where.
apt_sources() {
    list=$1
    shift
    mkdir -p "$work/$list/lists/partial" "$work/$list/cache/archives/partial"
    apt-get -q -o "Dir::Etc::SourceList=$work/$list.list" \
        -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/$list/lists" \
        -o "Dir::Cache=$work/$list/cache" -o APT::Sandbox::User=root "$@" >&2
}

# shellcheck disable=SC2016 # apt's own variables
apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' | sort -u >"$work/all.list"
grep -v security "$work/all.list" >"$work/release.list" ||
    die "apt knows no repository of Debian: run apt-get update"

mkdir "$work/src"
cd "$work/src"
apt_sources all update
apt_sources release update
for name in $SOURCES; do
    apt_sources all source --download-only "$name" ||
        apt_sources release source --download-only "$name" ||
        die "apt cannot fetch the source of $name"
    set -- "$name"_*.dsc
    for dsc; do
        dpkg-source --no-check -x "$dsc" "$work/$name" >/dev/null 2>&1 && break
    done
    [ -d "$work/$name" ] || die "$name cannot be unpacked"
    say "$name $(basename "$dsc" .dsc | cut -d_ -f2)"
done

# ---- Building ----------------------------------------------------------------

rm -rf "$folder"
mkdir -p "$folder/kernel" "$folder/lib"
ln -s /usr/include/linux "$folder/kernel/linux"
ln -s /usr/include/asm-generic "$folder/kernel/asm-generic"
ln -s /usr/include/x86_64-linux-gnu/asm "$folder/kernel/asm"
export MUSL_HEADERS="$folder/kernel"
cat >"$folder/cc" <<END
#!/bin/sh
MUSL_HEADERS=$folder/kernel exec $here/cross/musl-clang "\$@"
END
chmod +x "$folder/cc"
CC=$folder/cc
export CC CFLAGS='-O2 -fPIC -w' PKG_CONFIG_LIBDIR="$folder/lib/pkgconfig"
jobs=$(nproc)

# quietly COMMAND...: what it said only where it failed.
quietly() {
    "$@" >"$work/log" 2>&1 || {
        tail -n 40 "$work/log" >&2
        die "failed: $*"
    }
}

# with_cmake NAME OPTION...
with_cmake() {
    name=$1
    shift
    say "building $name"
    quietly cmake -S "$work/$name" -B "$work/$name-build" \
        -DCMAKE_INSTALL_PREFIX="$folder" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_BUILD_TYPE=None -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=x86_64 \
        -DCMAKE_FIND_ROOT_PATH="$folder" \
        -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY \
        -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY "$@"
    quietly cmake --build "$work/$name-build" -j "$jobs"
    quietly cmake --install "$work/$name-build"
}

# with_configure NAME OPTION...
with_configure() {
    name=$1
    shift
    say "building $name"
    cd "$work/$name"
    quietly ./configure --host=x86_64-linux-musl --prefix="$folder" \
        --libdir="$folder/lib" --disable-shared --enable-static "$@"
    quietly make -j "$jobs"
    quietly make install
}

build_openssl() {
    say "building openssl"
    cd "$work/openssl"
    quietly perl ./Configure linux-x86_64 --prefix="$folder" \
        --libdir=lib --openssldir=/etc/ssl no-shared no-tests no-dso \
        no-engine no-afalgeng no-async no-ui-console no-legacy no-deprecated \
        no-ssl3 no-dtls no-srp no-psk no-idea no-camellia no-seed no-aria \
        no-bf no-cast no-rc2 no-rc4 no-md4 no-mdc2 no-rmd160 no-whirlpool \
        no-sm2 no-sm3 no-sm4 no-gost no-cms no-ts no-ct no-ocsp no-srtp
    quietly make -j "$jobs" build_generated
    quietly make -j "$jobs" libcrypto.a libssl.a
    quietly make install_dev
}

with_cmake jansson -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON \
    -DJANSSON_EXAMPLES=OFF
with_cmake libyaml -DBUILD_TESTING=OFF
cat >"$folder/lib/pkgconfig/yaml-0.1.pc" <<END
Name: LibYAML
Description: YAML 1.1 parser and emitter
Version: 0.2.5
Libs: -L$folder/lib -lyaml
Cflags: -I$folder/include
END
with_cmake libuv1 -DLIBUV_BUILD_TESTS=OFF -DBUILD_TESTING=OFF
rm "$folder"/lib/libuv.so*
ln -s libuv_a.a "$folder/lib/libuv.a"
with_cmake nghttp2 -DENABLE_LIB_ONLY=ON -DENABLE_STATIC_LIB=ON \
    -DENABLE_SHARED_LIB=OFF
with_configure libmicrohttpd --disable-https --disable-doc --disable-examples \
    --disable-tools --disable-curl
with_configure protobuf-c --disable-protoc
build_openssl
with_configure curl --with-openssl="$folder" --disable-ntlm --without-zlib --without-brotli \
    --without-zstd --without-libpsl --without-libidn2 --without-nghttp2 \
    --without-librtmp --without-libssh2 --disable-ldap --disable-manual \
    --disable-ftp --disable-file --disable-dict --disable-telnet \
    --disable-tftp --disable-pop3 --disable-imap --disable-smb \
    --disable-smtp --disable-gopher --disable-mqtt --disable-rtsp \
    --disable-unix-sockets --disable-threaded-resolver \
    --with-ca-bundle=/etc/ssl/certs/ca-certificates.crt

# ---- For Meson ---------------------------------------------------------------

cat >"$folder/cross.txt" <<END
# Meson: static programs for musl; made by tools/deps_musl.sh.
[binaries]
c = '$folder/cc'
ar = 'ar'
strip = 'strip'
pkgconfig = 'pkg-config'

[built-in options]
prefer_static = true

[properties]
pkg_config_libdir = '$folder/lib/pkgconfig'
needs_exe_wrapper = false

[host_machine]
system = 'linux'
cpu_family = 'x86_64'
cpu = 'x86_64'
endian = 'little'
END
printf '%s\n' "$mark" >"$folder/made-by"
say "in $folder"
