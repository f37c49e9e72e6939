#!/bin/sh
# Other engines and ours on the same pairs, and the machine's peak beside them.
#
#     bench/peers.sh HARNESS MODEL PAIRS.tsv [library.py options]
#
# HARNESS is the folder of the peer harness (library.py, peak.c); PYTHON the
# interpreter of its environment, PEERS_CACHE where it keeps derived models,
# THREADS how many CPUs everybody gets (default 2). Ours is measured in
# process in fp32, bf16 and int8, through its Python binding. The peak is measured
# before and after, as a noisy machine shows in the difference; beside it that of
# `crossrank info --peak`, since peak.c's rounds are short and begin to be counted
# after its threads have begun: a fast CPU gets too much. Raw results go to
# bench/results/peers-CPU-DATE.jsonl and the printed table to .md beside it.
# Build first (./run build); give it a quiet machine.
set -eu
[ $# -ge 3 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
harness=$1 model=$2 pairs=$3
shift 3
threads=${THREADS:-2} python=${PYTHON:-python3}
peers=torch-fp32,torch-bf16,sentence-transformers,onnx-fp32,onnx-int8
peers=$peers,openvino-fp32,openvino-bf16,openvino-int8
ours=crossrank-fp32,crossrank-bf16,crossrank-int8
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1 |
    tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
out=$here/results/peers-${cpu:-cpu}-$(date -u +%Y%m%dT%H%M%S)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${CC:-cc} -O2 -pthread "$harness/peak.c" -o "$work/peak"

on_cpus() { taskset -c "0-$((threads - 1))" "$@"; }

peak() {
    printf '{"kind":"peak","when":"%s","gflops":%s,"info":%s}\n' "$1" \
        "$(on_cpus "$work/peak")" \
        "$(on_cpus "$here/../build/crossrank" info --model "$model" --peak --json |
            "$python" -c 'import json, sys
print(json.dumps(json.load(sys.stdin)["peak_gflops"]))')" |
        tee -a "$out.jsonl"
}

peak before
status=0
export CROSSRANK_LIBRARY="${CROSSRANK_LIBRARY:-$here/../build/libcrossrank.so}"
PYTHONPATH="$here/../bindings/python${PYTHONPATH:+:$PYTHONPATH}" "$python" \
    "$harness/library.py" "$model" "$pairs" --threads "$threads" \
    --engines "$peers,$ours" --json "$out.jsonl" "$@" >"$out.md" || status=$?
peak after
cat "$out.md"
echo "raw results: $out.jsonl" >&2
exit $status
