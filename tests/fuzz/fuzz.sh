#!/bin/sh
# fuzz.sh: runs fuzz targets, two at a time. `./run fuzz` builds them first.
#
#   fuzz.sh FOLDER [SECONDS [NAME]]   SECONDS a target, default 60; 0 lists them
#
# Inputs that reach new code are kept in FOLDER/corpus/NAME for the next run;
# seeds come from tests/fuzz/seeds/NAME. An input that breaks a target is
# written to FOLDER/crashes and named. The last line counts targets.
set -u
cd "$(dirname "$0")/../.." || exit 2

# one FOLDER SECONDS TARGET: its log goes to FOLDER/logs, its verdict too.
one() {
    name=${3##*/fuzz_}
    log=$1/logs/$name
    mkdir -p "$1/corpus/$name" "$1/crashes" "$1/logs"
    set -- "$@" "$1/corpus/$name"
    [ ! -d "tests/fuzz/seeds/$name" ] || set -- "$@" "tests/fuzz/seeds/$name"
    folder=$1 seconds=$2 target=$3
    shift 3
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="$folder/crashes/$name-" -print_final_stats=1 "$@" \
        >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "fuzz: $name: $runs inputs, none broke it"
        echo passed >"$log.verdict"
    else
        tail -n 40 "$log"
        echo "fuzz: $name: FAILED; try an input of $folder/crashes again by"
        echo "      $target FILE"
        echo failed >"$log.verdict"
    fi
}

if [ "$1" = --one ]; then
    shift
    one "$@"
    exit 0
fi

folder=$1
seconds=${2:-60}
name=${3:-*}
rm -f "$folder"/logs/*.verdict
# shellcheck disable=SC2086 # the pattern is to be expanded
set -- "$folder"/tests/fuzz/fuzz_$name
targets=
for target; do
    [ -f "$target" ] && [ -x "$target" ] && targets="$targets $target"
done
[ -n "$targets" ] || { echo "fuzz: no target '$name'" >&2; exit 2; }
if [ "$seconds" = 0 ]; then
    for target in $targets; do echo "${target##*/fuzz_}"; done
    exit 0
fi
# shellcheck disable=SC2086
printf '%s\n' $targets |
    xargs -P 2 -n 1 sh tests/fuzz/fuzz.sh --one "$folder" "$seconds"
n_targets=$(echo "$targets" | wc -w)
n_passed=$(cat "$folder"/logs/*.verdict 2>/dev/null | grep -cx passed)
n_failed=$((n_targets - n_passed))
echo "$n_passed passed, $n_failed failed, 0 skipped"
[ "$n_failed" = 0 ]
